/* bodytext.h - what SEARCH looks into: the text of a message in UTF-8 with case folded. */
#ifndef IMAPD_BODYTEXT_H
#define IMAPD_BODYTEXT_H

#include "base/arena.h"

/* Case folded for ASCII, Latin-1, Latin Extended-A, Greek and Cyrillic; other bytes as they are. */
struct span text_fold(struct arena *a, struct span utf8);
/* All text and embedded message parts, transfer encoding undone, charset turned to UTF-8, folded; parts
 * separated by a line end. */
struct span body_text(struct span message, struct arena *a);

#endif
