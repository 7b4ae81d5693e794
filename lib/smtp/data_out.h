/* smtp/data_out.h - content on its way to a server, as DATA wants it (RFC 5321 sections 2.3.8 and 4.5.2): lines that end
 * with LF here end with CRLF there, and a leading dot is doubled. The final dot is the caller's. */
#ifndef SMTP_DATA_OUT_H
#define SMTP_DATA_OUT_H

#include "task/stream.h"

struct data_out {
	struct stream *io;
	size_t line_limit; /* longer lines are cut, and go on behind a blank; 0: none is */
	bool
	    clean; /* CR and NUL inside a line become blanks, so that no server, however it reads line ends, finds an
			    * end of data that is not ours */
	/* private */
	size_t column; /* bytes of this line that were sent */
	bool cr;       /* a CR is held back: with LF it ends the line, else it is a blank */
};
/* A piece of the content, cut anywhere. Trouble of the stream shows at the next flush. */
void data_out(struct data_out *w, struct span piece);
/* Ends a last line that has no end. */
void data_out_end(struct data_out *w);

#endif
