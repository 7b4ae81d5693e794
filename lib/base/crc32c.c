/* base/crc32c.c - CRC-32C (Castagnoli, reflected 0x82f63b78): by the processor's instruction where there is
 * one, else by tables, eight bytes at a step. */
#include "base/codec.h"

static uint32_t tables[8][256];

static void tables_fill(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int bit = 0; bit < 8; bit++)
			c = (c & 1) != 0 ? c >> 1 ^ 0x82f63b78U : c >> 1;
		tables[0][i] = c;
	}
	for (uint32_t i = 0; i < 256; i++) {
		for (int k = 1; k < 8; k++)
			tables[k][i] = tables[k - 1][i] >> 8 ^ tables[0][tables[k - 1][i] & 0xff];
	}
}

static uint32_t by_table(uint32_t crc, const unsigned char *p, size_t n)
{
	for (; n >= 8; p += 8, n -= 8) {
		crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		crc = tables[7][crc & 0xff] ^ tables[6][crc >> 8 & 0xff] ^ tables[5][crc >> 16 & 0xff] ^
		      tables[4][crc >> 24] ^ tables[3][p[4]] ^ tables[2][p[5]] ^ tables[1][p[6]] ^
		      tables[0][p[7]];
	}
	for (; n != 0; p++, n--)
		crc = crc >> 8 ^ tables[0][(crc ^ *p) & 0xff];
	return crc;
}

typedef uint32_t crc_fn(uint32_t crc, const unsigned char *p, size_t n);

#if defined(__x86_64__)
#include <nmmintrin.h>
__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const unsigned char *p,
								 size_t n)
{
	uint64_t wide = crc, word;

	for (; n >= 8; p += 8, n -= 8) {
		memcpy(&word, p, 8);
		wide = _mm_crc32_u64(wide, word);
	}
	crc = (uint32_t)wide;
	for (; n != 0; p++, n--)
		crc = _mm_crc32_u8(crc, *p);
	return crc;
}

static crc_fn *choose(void)
{
	return __builtin_cpu_supports("sse4.2") ? by_instruction : by_table;
}
#else
static crc_fn *choose(void)
{
	return by_table;
}
#endif

/* Chosen before main(): helper threads may be the first to call. */
static crc_fn *crc_run;
__attribute__((constructor)) static void crc_init(void)
{
	tables_fill();
	crc_run = choose();
}

uint32_t crc32c(uint32_t crc, struct span data)
{
	return ~crc_run(~crc, (const unsigned char *)data.p, data.n);
}

uint32_t crc32c_by_table(uint32_t crc, struct span data)
{
	return ~by_table(~crc, (const unsigned char *)data.p, data.n);
}
