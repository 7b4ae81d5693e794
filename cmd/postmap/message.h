/* postmap/message.h - the lines of a message as keys, to try out header_checks(5) and body_checks(5). */
#ifndef POSTMAP_MESSAGE_H
#define POSTMAP_MESSAGE_H

#include "base/span.h"

/* Each logical header line (with `header`) and each body line (with `body`) of the message, in order. With
 * `mime` the headers of attachments and of attached messages count as headers. */
void message_keys(bool header, bool body, bool mime, struct span message,
		  void (*each)(void *arg, struct span key), void *arg);

#endif
