/* local/pipe.h - pipe(8): the attributes of its line in master.cf. */
#ifndef LOCAL_PIPE_H
#define LOCAL_PIPE_H

#include "pipe_macro.h"
#include "workers.h"

struct pipe_service {
	struct asuser_id id;
	struct span *argv;
	size_t argc;
	const char *directory, *chroot; /* "": none */
	struct span eol, null_sender;
	uint64_t size_limit;
	unsigned head; /* HEAD_ bits */
	unsigned run;  /* USER_RUN_ bits */
	unsigned fold; /* PIPE_ bits */
	bool final;    /* flag X: delivered, not relayed */
};
/* Reads what follows the options; `spawn`: the attributes of spawn(8) only. Dies on what cannot be. */
void pipe_read_args(struct pipe_service *s, bool spawn, struct arena *a);

#endif
