/* mime/params.h - "type/subtype; name=value; name*0*=..." : Content-Type and Content-Disposition (RFC
 * 2045 5.1, RFC 2231). */
#ifndef MIME_PARAMS_H
#define MIME_PARAMS_H

#include "mime/mime.h"

#define PARAMS_MAX	200
#define PARAM_VALUE_MAX 4096

/* The first token of an unfolded body, comments skipped. */
struct span params_token(struct span body);
bool params_parse_type(struct span body, struct arena *a, struct span *type, struct span *subtype,
		       struct mime_param **v, size_t *n);
void params_parse_value(struct span body, struct arena *a, struct span *value, struct mime_param **v,
			size_t *n);
/* The parameters of either form, with repetitions of a name: readers differ in which of them counts. */
void params_all(struct span body, struct arena *a, struct mime_param **v, size_t *n);
struct span params_find(const struct mime_param *v, size_t n, const char *name); /* SPAN_NONE when absent */

#endif
