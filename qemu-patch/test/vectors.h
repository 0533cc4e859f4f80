/*
 * Known answers of the ciphers and hashes, from the standards that are named
 *
 * All in hexadecimal but texts. A cipher's answers are of a fresh session.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef VCD_TEST_VECTORS_H
#define VCD_TEST_VECTORS_H

#include <stdint.h>

struct cipher_vector {
    const char *source;
    uint32_t cipher;
    const char *key, *iv, *plain, *secret;
};

struct hash_vector {
    const char *source;
    uint32_t mac;
    const char *key;            /* NULL for a plain hash */
    const char *text;
    unsigned times;             /* the text so many times */
    const char *digest;
};

#define SP800_38A_KEY128 "2b7e151628aed2a6abf7158809cf4f3c"
#define SP800_38A_KEY192 "8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b"
#define SP800_38A_KEY256 \
    "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
#define SP800_38A_IV "000102030405060708090a0b0c0d0e0f"
#define SP800_38A_COUNTER "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
#define SP800_38A_PLAIN \
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51" \
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
#define ZERO8 "0000000000000000"
#define ZERO16 ZERO8 ZERO8
#define YOUNG_PLAIN \
    "37363534333231204e6f77206973207468652074696d6520666f722000000000"

static const struct cipher_vector cipher_vectors[] = {
    { "FIPS 81, appendix C", 1, "0123456789abcdef", "1234567890abcdef",
      "4e6f77206973207468652074696d6520666f7220616c6c20",
      "e5c7cdde872bf27c43e934008c389c0f683788499a7c05f6" },
    { "SP 800-17, table A.1, the first", 1, "0101010101010101", ZERO8,
      "8000000000000000", "95f8a5e5dd31d900" },
    { "SP 800-67, appendix B.1, the first block", 2,
      "0123456789abcdef23456789abcdef01456789abcdef0123", ZERO8,
      "5468652071756663", "a826fd8ce53b855f" },
    { "E. Young, libdes, destest.c, cbc3", 2,
      "0123456789abcdeff1e0d3c2b5a49786fedcba9876543210",
      "fedcba9876543210", YOUNG_PLAIN,
      "3fe301c962ac01d02213763c1cbd4cdc799657c064ecf5d41c673812cfde9675" },
    { "E. Young, Blowfish test vectors, chaining mode", 3,
      "0123456789abcdeff0e1d2c3b4a59687", "fedcba9876543210", YOUNG_PLAIN,
      "6b77b4d63006dee605b156e27403979358deb9e7154616d959f1652bd5ff92cc" },
    { "E. Young, Blowfish test vectors, ecb", 3, ZERO8, ZERO8, ZERO8,
      "4ef997456198dd78" },
    { "E. Young, Blowfish test vectors, set_key, 1 byte", 3, "f0", ZERO8,
      "fedcba9876543210", "f9ad597c49db005e" },
    { "E. Young, Blowfish test vectors, set_key, 24 bytes", 3,
      "f0e1d2c3b4a5968778695a4b3c2d1e0f0011223344556677", ZERO8,
      "fedcba9876543210", "05044b62fa52d080" },
    { "SP 800-38A, F.2.1", 11, SP800_38A_KEY128, SP800_38A_IV,
      SP800_38A_PLAIN,
      "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2"
      "73bed6b8e3c1743b7116e69e222295163ff1caa1681fac09120eca307586e1a7" },
    { "SP 800-38A, F.2.3", 11, SP800_38A_KEY192, SP800_38A_IV,
      SP800_38A_PLAIN,
      "4f021db243bc633d7178183a9fa071e8b4d9ada9ad7dedf4e5e738763f69145a"
      "571b242012fb7ae07fa9baac3df102e008b0e27988598881d920a9e64f5615cd" },
    { "SP 800-38A, F.2.5", 11, SP800_38A_KEY256, SP800_38A_IV,
      SP800_38A_PLAIN,
      "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d"
      "39f23369a9d9bacfa530e26304231461b2eb05e2c39be9fcda6c19078c6a9d1b" },
    { "RFC 3602, case 1", 11, "06a9214036b8a15b512e03d534120006",
      "3dafba429d9eb430b422da802c9fac41", "53696e676c6520626c6f636b206d7367",
      "e353779c1079aeb82708942dbe77181a" },
    { "RFC 3602, case 2", 11, "c286696d887c9aa0611bbb3e2025a45a",
      "562e17996d093d28ddb3ba695a2e6f58",
      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
      "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1" },
    { "SP 800-38A, F.5.1", 21, SP800_38A_KEY128, SP800_38A_COUNTER,
      SP800_38A_PLAIN,
      "874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff"
      "5ae4df3edbd5d35e5b4f09020db03eab1e031dda2fbe03d1792170a0f3009cee" },
    { "SP 800-38A, F.5.3", 21, SP800_38A_KEY192, SP800_38A_COUNTER,
      SP800_38A_PLAIN,
      "1abc932417521ca24f2b0459fe7e6e0b090339ec0aa6faefd5ccc2c6f4ce8e94"
      "1e36b26bd1ebc670d1bd1d665620abf74f78a7f6d29809585a97daec58c6b050" },
    { "SP 800-38A, F.5.5", 21, SP800_38A_KEY256, SP800_38A_COUNTER,
      SP800_38A_PLAIN,
      "601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5"
      "2b0930daa23de94ce87017ba2d84988ddfc9c58db67aada613c2dd08457941a6" },
    { "IEEE 1619, vector 2", 22,
      "1111111111111111111111111111111122222222222222222222222222222222",
      "33333333330000000000000000000000",
      "4444444444444444444444444444444444444444444444444444444444444444",
      "c454185e6a16936e39334038acef838bfb186fff7480adc4289382ecd6d394f0" },
    { "IEEE 1619, vector 10, its first 64 bytes", 22,
      "2718281828459045235360287471352662497757247093699959574966967627"
      "3141592653589793238462643383279502884197169399375105820974944592",
      "ff000000000000000000000000000000",
      "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
      "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f",
      "1c3b3a102f770386e4836c99e370cf9bea00803f5e482357a4ae12d414a3e63b"
      "5d31e276f8fe4a8d66b317f9ac683f44680a86ac35adfc3345befecb4bb188fd" },
    { "SP 800-38A, F.1.1", 23, SP800_38A_KEY128, "", SP800_38A_PLAIN,
      "3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf"
      "43b1cd7f598ece23881b00e3ed0306887b0c785e27e8ad3f8223207104725dd4" },
    { "SP 800-38A, F.1.3", 23, SP800_38A_KEY192, "", SP800_38A_PLAIN,
      "bd334f1d6e45f25ff712a214571fa5cc974104846d0ad3ad7734ecb3ecee4eef"
      "ef7afd2270e2e60adce0ba2face6444e9a4b41ba738d6c72fb16691603c18e0e" },
    { "SP 800-38A, F.1.5", 23, SP800_38A_KEY256, "", SP800_38A_PLAIN,
      "f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870"
      "b6ed21b99ca6f4f9f153e7b1beafed1d23304b7a39f9f3ff067d8d8f9e24ecc7" },
    { "SP 800-38A, F.3.13", 24, SP800_38A_KEY128, SP800_38A_IV,
      SP800_38A_PLAIN,
      "3b3fd92eb72dad20333449f8e83cfb4ac8a64537a0b3a93fcde3cdad9f1ce58b"
      "26751f67a3cbb140b1808cf187a4f4dfc04b05357c5d1c0eeac4c66f9ff7f2e6" },
    { "SP 800-38A, F.3.15", 24, SP800_38A_KEY192, SP800_38A_IV,
      SP800_38A_PLAIN,
      "cdc80d6fddf18cab34c25909c99a417467ce7f7f81173621961a2b70171d3d7a"
      "2e1e8a1dd59b88b1c8e60fed1efac4c9c05f9f9ca9834fa042ae8fba584b09ff" },
    { "SP 800-38A, F.3.17", 24, SP800_38A_KEY256, SP800_38A_IV,
      SP800_38A_PLAIN,
      "dc7e84bfda79164b7ecd8486985d386039ffed143b28b1c832113c6331e5407b"
      "df10132415e54b92a13ed0a8267ae2f975a385741ab9cef82031623d55b1e471" },
    { "SP 800-38A, F.4.1", 25, SP800_38A_KEY128, SP800_38A_IV,
      SP800_38A_PLAIN,
      "3b3fd92eb72dad20333449f8e83cfb4a7789508d16918f03f53c52dac54ed825"
      "9740051e9c5fecf64344f7a82260edcc304c6528f659c77866a510d9c1d6ae5e" },
    { "SP 800-38A, F.4.3", 25, SP800_38A_KEY192, SP800_38A_IV,
      SP800_38A_PLAIN,
      "cdc80d6fddf18cab34c25909c99a4174fcc28b8d4c63837c09e81700c1100401"
      "8d9a9aeac0f6596f559c6d4daf59a5f26d9f200857ca6c3e9cac524bd9acc92a" },
    { "SP 800-38A, F.4.5", 25, SP800_38A_KEY256, SP800_38A_IV,
      SP800_38A_PLAIN,
      "dc7e84bfda79164b7ecd8486985d38604febdc6740d20b3ac88f6ad82a4fb08d"
      "71ab47a086e86eedf39d1c5bba97c4080126141d67f37be8538f5a8be740e484" },
    { "RFC 3713, appendix A, 128 bits", 101,
      "0123456789abcdeffedcba9876543210", ZERO16,
      "0123456789abcdeffedcba9876543210", "67673138549669730857065648eabe43" },
    { "RFC 3713, appendix A, 192 bits", 101,
      "0123456789abcdeffedcba98765432100011223344556677", ZERO16,
      "0123456789abcdeffedcba9876543210", "b4993401b3e996f84ee5cee7d79b09b9" },
    { "RFC 3713, appendix A, 256 bits", 101,
      "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff",
      ZERO16, "0123456789abcdeffedcba9876543210",
      "9acc237dff16d76c20ef7c919e3a7509" },
    { "CRYPTO_NULL of the cryptodev ABI", 16, "", "", SP800_38A_PLAIN,
      SP800_38A_PLAIN },
};

#define TEXT_26 "abcdefghijklmnopqrstuvwxyz"
#define TEXT_62 \
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#define TEXT_448 "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
#define TEXT_896 \
    "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn" \
    "hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu"
#define TEXT_JEFE "what do ya want for nothing?"
#define TEXT_LONG_KEY "Test Using Larger Than Block-Size Key - Hash Key First"
#define JEFE "4a656665"
#define KEY_0B_16 "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b"
#define KEY_0B_20 KEY_0B_16 "0b0b0b0b"
#define KEY_AA_20 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY_AA_80 KEY_AA_20 KEY_AA_20 KEY_AA_20 KEY_AA_20

static const struct hash_vector hash_vectors[] = {
    { "RFC 1321, A.5", 13, NULL, "", 1, "d41d8cd98f00b204e9800998ecf8427e" },
    { "RFC 1321, A.5", 13, NULL, "a", 1, "0cc175b9c0f1b6a831c399e269772661" },
    { "RFC 1321, A.5", 13, NULL, "abc", 1,
      "900150983cd24fb0d6963f7d28e17f72" },
    { "RFC 1321, A.5", 13, NULL, "message digest", 1,
      "f96b697d7cb7938d525a2f31aaf161d0" },
    { "RFC 1321, A.5", 13, NULL, TEXT_26, 1,
      "c3fcd3d76192e4007dfb496cca67e13b" },
    { "RFC 1321, A.5", 13, NULL, TEXT_62, 1,
      "d174ab98d277d9f5a5611c2c9f419d9f" },
    { "RFC 1321, A.5", 13, NULL, "1234567890", 8,
      "57edf4a22be3c955ac49da2e2107b67a" },
    { "FIPS 180, example 1", 14, NULL, "abc", 1,
      "a9993e364706816aba3e25717850c26c9cd0d89d" },
    { "FIPS 180, example 2", 14, NULL, TEXT_448, 1,
      "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
    { "FIPS 180, example 3", 14, NULL, "a", 1000000,
      "34aa973cd4c4daa4f61eeb2bdbad27316534016f" },
    { "RIPEMD-160 page", 102, NULL, "", 1,
      "9c1185a5c5e9fc54612808977ee8f548b2258d31" },
    { "RIPEMD-160 page", 102, NULL, "a", 1,
      "0bdc9d2d256b3ee9daae347be6f4dc835a467ffe" },
    { "RIPEMD-160 page", 102, NULL, "abc", 1,
      "8eb208f7e05d987a9b044a8e98c6b087f15a0bfc" },
    { "RIPEMD-160 page", 102, NULL, "message digest", 1,
      "5d0689ef49d2fae572b881b123a85ffa21595f36" },
    { "RIPEMD-160 page", 102, NULL, TEXT_26, 1,
      "f71c27109c692c1b56bbdceb5b9d2865b3708dbc" },
    { "FIPS 180-4 examples", 103, NULL, "abc", 1,
      "23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7" },
    { "FIPS 180-4 examples", 103, NULL, TEXT_448, 1,
      "75388b16512776cc5dba5da1fd890150b0c6455cb4f58b1952522525" },
    { "FIPS 180-4 examples", 104, NULL, "abc", 1,
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
    { "FIPS 180-4 examples", 104, NULL, TEXT_448, 1,
      "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
    { "FIPS 180-4 examples", 104, NULL, "a", 1000000,
      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
    { "FIPS 180-4 examples", 105, NULL, "abc", 1,
      "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded163"
      "1a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7" },
    { "FIPS 180-4 examples", 105, NULL, TEXT_896, 1,
      "09330c33f71147e83d192fc782cd1b4753111b173b3b05d2"
      "2fa08086e3b0f712fcc7c71a557e2db966c3e9fa91746039" },
    { "FIPS 180-4 examples", 106, NULL, "abc", 1,
      "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f" },
    { "FIPS 180-4 examples", 106, NULL, TEXT_896, 1,
      "8e959b75dae313da8cf4f72814fc143f8f7779c6eb9f7fa17299aeadb6889018"
      "501d289e4900f7e4331b99dec4b5433ac7d329eeb6dd26545e96e55b874be909" },
    { "RFC 2202, HMAC-MD5 1", 6, KEY_0B_16, "Hi There", 1,
      "9294727a3638bb1c13f48ef8158bfc9d" },
    { "RFC 2202, HMAC-MD5 2", 6, JEFE, TEXT_JEFE, 1,
      "750c783e6ab0b503eaa86e310a5db738" },
    { "RFC 2202, HMAC-MD5 6", 6, KEY_AA_80, TEXT_LONG_KEY, 1,
      "6b1ab7fe4bd7bf8f0b62e6ce61b9d0cd" },
    { "RFC 2202, HMAC-SHA-1 1", 7, KEY_0B_20, "Hi There", 1,
      "b617318655057264e28bc0b6fb378c8ef146be00" },
    { "RFC 2202, HMAC-SHA-1 2", 7, JEFE, TEXT_JEFE, 1,
      "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79" },
    { "RFC 2202, HMAC-SHA-1 6", 7, KEY_AA_80, TEXT_LONG_KEY, 1,
      "aa4ae5e15272d00e95705637ce8a3b55ed402112" },
    { "RFC 2286, HMAC-RIPEMD160 1", 8, KEY_0B_20, "Hi There", 1,
      "24cb4bd67d20fc1a5d2ed7732dcc39377f0a5668" },
    { "RFC 2286, HMAC-RIPEMD160 2", 8, JEFE, TEXT_JEFE, 1,
      "dda6c0213a485a9e24f4742064a7f033b43c4069" },
    { "RFC 4231, case 1", 107, KEY_0B_20, "Hi There", 1,
      "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22" },
    { "RFC 4231, case 2", 107, JEFE, TEXT_JEFE, 1,
      "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44" },
    { "RFC 4231, case 1", 18, KEY_0B_20, "Hi There", 1,
      "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7" },
    { "RFC 4231, case 2", 18, JEFE, TEXT_JEFE, 1,
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843" },
    { "RFC 4231, case 1", 19, KEY_0B_20, "Hi There", 1,
      "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec6"
      "82aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6" },
    { "RFC 4231, case 2", 19, JEFE, TEXT_JEFE, 1,
      "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47"
      "e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649" },
    { "RFC 4231, case 1", 20, KEY_0B_20, "Hi There", 1,
      "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cde"
      "daa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854" },
    { "RFC 4231, case 2", 20, JEFE, TEXT_JEFE, 1,
      "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554"
      "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737" },
    /* Which every implementation gives; no standard has a key of no bytes */
    { "HMAC-MD5 of nothing under nothing", 6, "", "", 1,
      "74e6f7298a9c2d168935f58c001bad88" },
    { "HMAC-SHA-1 of nothing under nothing", 7, "", "", 1,
      "fbdb1d1b18aa6c08324b7d64b71fb76370690e1d" },
    { "HMAC-SHA-256 of nothing under nothing", 18, "", "", 1,
      "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad" },
};

#endif /* VCD_TEST_VECTORS_H */
