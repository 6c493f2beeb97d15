// bench_rpc_cpp: the Echo service on gRPC C++'s asynchronous API, one completion queue and one
// thread, in the shape of its own documentation. Prints "RPC_PORT 0" and serves until its standard
// input ends.
#include "echo.grpc.pb.h"

#include <grpcpp/grpcpp.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <unistd.h>

namespace
{

constexpr int kPosted = 64;

bench::Echo::AsyncService service;
std::unique_ptr<grpc::ServerCompletionQueue> queue;

class Call
{
  public:
    virtual ~Call() = default;
    virtual void Proceed(bool ok) = 0;
};

class Unary : public Call
{
  public:
    Unary() : responder_(&context_)
    {
        service.RequestUnary(&context_, &request_, &responder_, queue.get(), queue.get(), this);
    }
    void Proceed(bool ok) override
    {
        if (!ok || finished_) {
            delete this;
            return;
        }
        new Unary;
        finished_ = true;
        reply_.set_payload(request_.payload());
        responder_.Finish(reply_, grpc::Status::OK, this);
    }

  private:
    grpc::ServerContext context_;
    bench::EchoRequest request_;
    bench::EchoReply reply_;
    grpc::ServerAsyncResponseWriter<bench::EchoReply> responder_;
    bool finished_ = false;
};

class Stream : public Call
{
  public:
    Stream() : writer_(&context_)
    {
        service.RequestStream(&context_, &request_, &writer_, queue.get(), queue.get(), this);
    }
    void Proceed(bool ok) override
    {
        if (!ok || finished_) {
            delete this;
            return;
        }
        if (!started_) {
            new Stream;
            started_ = true;
            left_ = request_.count();
            reply_.set_payload(request_.payload());
        }
        if (left_ == 0) {
            finished_ = true;
            writer_.Finish(grpc::Status::OK, this);
            return;
        }
        left_--;
        grpc::WriteOptions options;
        if (left_ > 0 && sent_++ > 0)
            options.set_buffer_hint(); // as our face does: more follows (core stalls on a hinted
                                       // first one)
        writer_.Write(reply_, options, this);
    }

  private:
    grpc::ServerContext context_;
    bench::EchoRequest request_;
    bench::EchoReply reply_;
    grpc::ServerAsyncWriter<bench::EchoReply> writer_;
    bool started_ = false, finished_ = false;
    unsigned left_ = 0, sent_ = 0;
};

} // namespace

int main()
{
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service);
    queue = builder.AddCompletionQueue();
    auto server = builder.BuildAndStart();
    std::thread([] {
        char byte;
        while (read(0, &byte, 1) > 0) {
        }
        _Exit(0);
    }).detach();
    for (int i = 0; i < kPosted; i++) {
        new Unary;
        new Stream;
    }
    std::printf("%d 0\n", port);
    std::fflush(stdout);
    void *tag;
    bool ok;
    while (queue->Next(&tag, &ok))
        static_cast<Call *>(tag)->Proceed(ok);
}
