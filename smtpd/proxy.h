/* proxy.h - the PROXY protocol of haproxy (proxy-protocol.txt, versions 1 and 2): who the client behind a
 * load balancer is. Pure: it takes bytes, accepts or rejects. */
#ifndef SMTPD_PROXY_H
#define SMTPD_PROXY_H

#include "net/addr.h"

#define PROXY_V1_MAX	  105 /* bytes of the line, without its end */
#define PROXY_V2_HEAD	  16
#define PROXY_V2_BODY_MAX 2048

struct proxy_header {
	bool local; /* no client is told: the balancer's own connection */
	struct inet_addr src, dst;
	uint16_t src_port, dst_port;
};
MUST_CHECK enum rc proxy_v1(struct span line, struct proxy_header *out);
/* Length of what follows the first PROXY_V2_HEAD bytes. */
MUST_CHECK enum rc proxy_v2_length(struct span head, size_t *body);
MUST_CHECK enum rc proxy_v2(struct span head, struct span body, struct proxy_header *out);

#endif
