// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Homa sockets as a program uses them. */
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "guest.h"

bool sockets_use_udp;

struct address address_of(const char *text, int port)
{
	struct address a = {};
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&a.storage;
	struct sockaddr_in *sin = (struct sockaddr_in *)&a.storage;

	if (strchr(text, ':')) {
		sin6->sin6_family = AF_INET6;
		sin6->sin6_port = htons(port);
		inet_pton(AF_INET6, text, &sin6->sin6_addr);
		a.length = sizeof(*sin6);
	} else {
		sin->sin_family = AF_INET;
		sin->sin_port = htons(port);
		inet_pton(AF_INET, text, &sin->sin_addr);
		a.length = sizeof(*sin);
	}
	return a;
}

void socket_open(struct homa_socket *s, int family, int port)
{
	struct homa_rcvbuf_args region;
	struct address any = address_of(family == AF_INET ? "0.0.0.0" : "::",
					port);

	int one = 1;

	memset(s, 0, sizeof(*s));
	s->family = family;
	s->fd = socket(family, SOCK_DGRAM, IPPROTO_HOMA);
	CHECK(s->fd >= 0);
	s->region = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(s->region != MAP_FAILED);
	region.start = (uintptr_t)s->region;
	region.length = REGION_BYTES;
	CHECK(!setsockopt(s->fd, IPPROTO_HOMA, SO_HOMA_RCVBUF, &region,
			  sizeof(region)));
	if (sockets_use_udp)
		CHECK(!setsockopt(s->fd, IPPROTO_HOMA, SO_HOMA_UDP, &one,
				  sizeof(one)));
	if (port)
		CHECK(!bind(s->fd, (struct sockaddr *)&any.storage,
			    any.length));
}

void socket_close(struct homa_socket *s)
{
	close(s->fd);
	munmap(s->region, REGION_BYTES);
}

static int send_message(struct homa_socket *s, const struct address *to,
			const void *bytes, size_t length,
			struct homa_sendmsg_args *args)
{
	struct iovec part = { (void *)bytes, length };
	struct msghdr message = {
		.msg_name = (void *)&to->storage,
		.msg_namelen = to->length,
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = args,
	};

	return sendmsg(s->fd, &message, 0);
}

int send_request(struct homa_socket *s, const struct address *to,
		 const void *bytes, size_t length, uint64_t cookie,
		 uint32_t flags, uint64_t *id)
{
	struct homa_sendmsg_args args = {
		.completion_cookie = cookie,
		.flags = flags,
	};
	int result = send_message(s, to, bytes, length, &args);

	if (id)
		*id = args.id;
	return result;
}

int send_reply(struct homa_socket *s, const struct address *to, uint64_t id,
	       const void *bytes, size_t length)
{
	struct homa_sendmsg_args args = { .id = id };

	return send_message(s, to, bytes, length, &args);
}

long receive(struct homa_socket *s, uint64_t id, int flags)
{
	struct msghdr message = {
		.msg_name = &s->from,
		.msg_namelen = sizeof(s->from),
		.msg_control = &s->got,
		.msg_controllen = sizeof(s->got),
	};
	long result;

	s->got.id = id;
	result = recvmsg(s->fd, &message, flags);
	s->from_length = message.msg_namelen;
	if (result >= 0)
		CHECK(message.msg_controllen == 0);
	return result;
}

void received_bytes(const struct homa_socket *s, void *to, size_t length)
{
	uint8_t *at = to;
	unsigned int i;

	for (i = 0; i < s->got.num_bpages; i++) {
		size_t part = length < HOMA_BPAGE_SIZE ? length :
							 HOMA_BPAGE_SIZE;

		memcpy(at, s->region + s->got.bpage_offsets[i], part);
		at += part;
		length -= part;
	}
	CHECK(!length);
}

void pattern_fill(uint8_t *to, size_t length, unsigned int seed)
{
	size_t i;

	for (i = 0; i < length; i++)
		to[i] = (i + seed) * 2654435761U >> 13;
}

void serve_echo(struct homa_socket *s)
{
	uint8_t *bytes = malloc(HOMA_MAX_MESSAGE_LENGTH);

	for (;;) {
		struct address from;
		long length = receive(s, 0, 0);

		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			_exit(0);
		received_bytes(s, bytes, length);
		from.storage = s->from;
		from.length = s->from_length;
		/* Some tests have memory run short. */
		while (send_reply(s, &from, s->got.id, bytes, length))
			CHECK(errno == ENOMEM);
	}
}

int start_far_echo(int family, int port)
{
	return start_echo(net_far, family, port);
}

int start_echo(void (*enter)(void), int family, int port)
{
	struct homa_socket s;
	pid_t child;

	enter();
	socket_open(&s, family, port);
	net_near();
	child = fork();
	CHECK(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve_echo(&s);
	}
	socket_close(&s);
	return child;
}

void echo_once(struct homa_socket *s, const struct address *to, size_t length,
	       unsigned int seed)
{
	uint8_t *sent = malloc(length), *back = malloc(length);
	uint64_t id;

	pattern_fill(sent, length, seed);
	CHECK(!send_request(s, to, sent, length, seed, 0, &id));
	CHECK(id && !(id & 1));
	if (receive(s, 0, 0) != (long)length)
		FAIL("no response of %zu bytes: errno %d", length, errno);
	CHECK(s->got.id == id && s->got.completion_cookie == seed);
	received_bytes(s, back, length);
	CHECK(!memcmp(sent, back, length));
	free(sent);
	free(back);
}
