#pragma once
/* install/s3_server.h - the S3 server (versitygw) that an installation on one machine keeps for its blobs, where the
 * inventory has its port. Layer: install. One, on the machine's address on the fabric, which every host of the
 * installation reaches and no guest; a bucket is a folder below its data. */
#include "install/services.h"

#define S3_SERVER_BUCKET "blobs"
#define S3_SERVER_REGION "us-east-1" /* versitygw's own default; any name does */

bool s3_server_is_wanted(const struct home *h);
/* create: credentials when there are none, and the bucket. */
struct service s3_server_service(const struct home *h);
/* "http://[fd12::1]:7070": requests are signed, and what is stored is known by its digest. */
const char *s3_server_endpoint(const struct home *h, char ret[static 96]);
/* aws_access_key_id and aws_secret_access_key, 0600, the platform's user may read it: `credentials` of a blob store's
 * spec (blob/blob.h). */
const char *s3_server_credentials(const struct home *h, char ret[static PATH_SIZE]);
