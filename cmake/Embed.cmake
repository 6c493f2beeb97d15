# Writes the bytes of IN as a C array: const unsigned char SYMBOL[]; const unsigned long SYMBOL_len.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
string(LENGTH "${hex}" digits)
math(EXPR size "${digits} / 2")
file(WRITE ${OUT} "extern const unsigned char ${SYMBOL}[];\nextern const unsigned long ${SYMBOL}_len;\n"
     "const unsigned char ${SYMBOL}[] = {${bytes}};\nconst unsigned long ${SYMBOL}_len = ${size};\n")
