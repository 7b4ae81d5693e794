/* t/fuzz/envelope.c - any bytes as an encoded envelope: what is accepted holds no control character in an
 * address, and encodes to the same bytes. */
#include "queue/envelope.h"
#include "queue/qid.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = span_make((const char *)data, size);
	struct envelope env;
	struct arena a;
	struct buf b;
	struct err e;

	arena_init(&a);
	buf_init(&b, SIZE_MAX);
	if (envelope_decode(in, &a, &env, &e) == RC_OK) {
		INVARIANT(envelope_encode(&env, &b) == RC_OK);
		INVARIANT(span_eq(buf_span(&b), in));
		INVARIANT(span_chr(env.sender, '\n') < 0);
		for (size_t i = 0; i < env.rcpts.n; i++)
			INVARIANT(span_chr(envelope_rcpt(&env, i)->addr, '\n') < 0);
	}
	buf_release(&b);
	arena_release(&a);
	return 0;
}
