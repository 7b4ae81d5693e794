/* queue/msgsize.h - the size of a message as Postfix has it, where scripts add sizes up: "size=" in the log, lists of the
 * queue, SIZE= of MAIL, ${size}. There a line is a record with a type and a length in place of its end, so that it
 * counts two octets more than its text, three from 128 octets on; lines are cut every 2048 octets. */
#ifndef QUEUE_MSGSIZE_H
#define QUEUE_MSGSIZE_H

#include "base/span.h"

struct msgsize {
	uint64_t bytes;
	size_t line; /* of the line at hand, so far */
};
/* Bytes of the message in their order, lines ending with LF; zeroed at the start. */
void msgsize_add(struct msgsize *m, struct span bytes);

#endif
