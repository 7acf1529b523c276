/* Making a self-signed certificate: EC P-256, 10 years, CN and SAN of the host name. */
#ifndef NODE_TLS_IDENTITY_H
#define NODE_TLS_IDENTITY_H

#include "node/base/err.h"

/* Writes key and certificate into one PEM file (mode 0600), atomically and durably. */
int tls_identity_make(const char *path, const char *host_name, struct err_detail *e);

#endif
