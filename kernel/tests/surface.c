// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Every pointer bad, every length wrong, every flag unknown: each place of a
 * call's arguments is spoiled in every way, the rest of the call being right.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "guest.h"

#define PAGE 4096
#define PORT 600

/* What a pointer may be and must not; @reads: the kernel may read there. */
struct bad_pointer {
	const char *name;
	void *at;
	bool reads;
};

#define BAD_POINTERS 7
#define FOR_EACH_BAD(bad, list) \
	for (bad = list; bad < list + BAD_POINTERS; bad++)

static void *map(size_t bytes, int protection)
{
	void *at = mmap(NULL, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS,
			-1, 0);

	CHECK(at != MAP_FAILED);
	return at;
}

/* Pointers at which a struct that begins with @good has no full place. */
static void bad_pointers_make(struct bad_pointer *list, const void *good,
			      size_t length)
{
	char *unmapped = map(PAGE, PROT_READ);
	char *half = map(2 * PAGE, PROT_READ | PROT_WRITE);
	char *readable = map(2 * PAGE, PROT_READ | PROT_WRITE);
	char *border = map(2 * PAGE, PROT_READ | PROT_WRITE);
	struct bad_pointer all[BAD_POINTERS] = {
		{ "the first page", (void *)8, false },
		{ "the kernel's half", (void *)(LONG_MIN + 0x1000), false },
		{ "unmapped", unmapped, false },
		{ "not readable", map(PAGE, PROT_NONE), false },
		{ "mapped for its first bytes", half + PAGE - 2, false },
		{ "not writable", readable, true },
		{ "not writable at its end", border + PAGE - 2, true },
	};

	memcpy(half + PAGE - 2, good, 2);
	memcpy(readable, good, length);
	memcpy(border + PAGE - 2, good, length);
	CHECK(!munmap(unmapped, PAGE));
	CHECK(!munmap(half + PAGE, PAGE));
	CHECK(!mprotect(readable, 2 * PAGE, PROT_READ));
	CHECK(!mprotect(border + PAGE, PAGE, PROT_READ));
	memcpy(list, all, sizeof(all));
}

#define CHECK_BAD(call, error, bad) \
	do { \
		long result_ = (call); \
		if (result_ != -1 || errno != (error)) \
			FAIL("%s, %s: %ld, errno %d instead of %d", #call, \
			     (bad)->name, result_, errno, error); \
	} while (0)

/* A request that would go out, to a port where nobody takes it. */
struct send_call {
	struct address to;
	struct homa_sendmsg_args args;
	uint8_t byte;
	struct iovec part;
	struct msghdr message;
};

static void send_call_make(struct send_call *c)
{
	memset(c, 0, sizeof(*c));
	c->to = address_of("127.0.0.1", PORT);
	c->part = (struct iovec){ &c->byte, 1 };
	c->message.msg_name = &c->to.storage;
	c->message.msg_namelen = c->to.length;
	c->message.msg_iov = &c->part;
	c->message.msg_iovlen = 1;
	c->message.msg_control = &c->args;
}

/* A receive that finds nothing. */
struct receive_call {
	struct sockaddr_storage from;
	struct homa_recvmsg_args args;
	struct msghdr message;
};

static void receive_call_make(struct receive_call *c)
{
	memset(c, 0, sizeof(*c));
	c->message.msg_name = &c->from;
	c->message.msg_namelen = sizeof(c->from);
	c->message.msg_control = &c->args;
	c->message.msg_controllen = sizeof(c->args);
}

static unsigned int rpcs_of(int fd)
{
	struct homa_info info = {};

	CHECK(!ioctl(fd, HOMAIOCINFO, &info));
	return info.num_rpcs;
}

/* A server that never looks, so that a request stays; and a client. */
static void pair_open(struct homa_socket *server, struct homa_socket *client)
{
	socket_open(server, AF_INET, PORT);
	socket_open(client, AF_INET, 0);
}

static void abort_all(int fd)
{
	struct homa_abort_args all = {};

	CHECK(!ioctl(fd, HOMAIOCABORT, &all));
}

static void sendmsg_survives_every_pointer(void)
{
	struct bad_pointer list[BAD_POINTERS], *bad;
	struct homa_socket server, s;
	struct send_call c;
	size_t length;

	pair_open(&server, &s);
	send_call_make(&c);
	bad_pointers_make(list, &c.message, sizeof(c.message));
	FOR_EACH_BAD(bad, list)
		if (!bad->reads)
			CHECK_BAD(sendmsg(s.fd, bad->at, 0), EFAULT, bad);
	bad_pointers_make(list, &c.args, sizeof(c.args));
	/* What cannot be told its id was never sent. */
	FOR_EACH_BAD(bad, list) {
		c.message.msg_control = bad->at;
		CHECK_BAD(sendmsg(s.fd, &c.message, 0), EFAULT, bad);
		CHECK(!rpcs_of(s.fd));
	}
	send_call_make(&c);
	bad_pointers_make(list, &c.to.storage, c.to.length);
	FOR_EACH_BAD(bad, list) {
		c.message.msg_name = bad->at;
		if (!bad->reads)
			CHECK_BAD(sendmsg(s.fd, &c.message, 0), EFAULT, bad);
	}
	send_call_make(&c);
	bad_pointers_make(list, &c.part, sizeof(c.part));
	FOR_EACH_BAD(bad, list) {
		c.message.msg_iov = bad->at;
		if (!bad->reads)
			CHECK_BAD(sendmsg(s.fd, &c.message, 0), EFAULT, bad);
	}
	send_call_make(&c);
	bad_pointers_make(list, &c.byte, 1);
	for (length = 3; length < HOMA_MAX_MESSAGE_LENGTH; length *= 40) {
		FOR_EACH_BAD(bad, list) {
			c.part = (struct iovec){ bad->at, length };
			if (!bad->reads)
				CHECK_BAD(sendmsg(s.fd, &c.message, 0), EFAULT,
					  bad);
		}
	}
	CHECK(!rpcs_of(s.fd));
}

static void sendmsg_survives_every_length(void)
{
	static uint8_t low;
	struct homa_socket server, s;
	struct iovec many[UIO_MAXIOV + 1] = {};
	struct send_call c;
	size_t length;

	pair_open(&server, &s);
	send_call_make(&c);
	for (length = 0; length <= sizeof(c.to.storage) + 8; length++) {
		c.message.msg_namelen = length;
		if (length < sizeof(struct sockaddr_in))
			CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EINVAL);
		else
			CHECK(!sendmsg(s.fd, &c.message, 0));
		c.args.id = 0;
	}
	abort_all(s.fd);
	send_call_make(&c);
	c.message.msg_namelen = INT_MIN;
	CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EINVAL);
	send_call_make(&c);
	/* What lies there is taken for control messages. */
	for (length = 1; length <= 256; length++) {
		c.message.msg_controllen = length;
		CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EINVAL);
	}
	c.message.msg_controllen = INT_MAX;
	/* For programs of 32 bits, control messages are read sooner. */
	CHECK_ERRNO(sendmsg(s.fd, &c.message, 0),
		    sizeof(long) == 8 ? ENOBUFS : EINVAL);
	send_call_make(&c);
	c.message.msg_iov = many;
	c.message.msg_iovlen = UIO_MAXIOV + 1;
	CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EMSGSIZE);
	/* No bytes, in however many parts. */
	for (length = 0; length <= UIO_MAXIOV; length += 64) {
		c.message.msg_iovlen = length;
		CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EINVAL);
	}
	send_call_make(&c);
	/* The stack is too near to the end of what a program may name. */
	c.part.iov_base = &low;
	c.part.iov_len = INT_MAX;
	CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EINVAL);
	c.part.iov_len = SIZE_MAX;
	CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EINVAL);
	CHECK(!rpcs_of(s.fd));
}

static void sendmsg_survives_every_flag(void)
{
	struct homa_socket server, s;
	struct send_call c;
	unsigned int bit;

	pair_open(&server, &s);
	for (bit = 0; bit < 32; bit++) {
		send_call_make(&c);
		c.args.flags = 1U << bit;
		if (c.args.flags & HOMA_SENDMSG_VALID_FLAGS)
			CHECK(!sendmsg(s.fd, &c.message, 0));
		else
			CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EINVAL);
		send_call_make(&c);
		c.args.reserved = 1U << bit;
		CHECK_ERRNO(sendmsg(s.fd, &c.message, 0), EINVAL);
	}
	abort_all(s.fd);
	send_call_make(&c);
	CHECK_ERRNO(sendmsg(s.fd, &c.message, MSG_OOB), EOPNOTSUPP);
	/* The others mean nothing to Homa. */
	CHECK(!sendmsg(s.fd, &c.message, MSG_DONTWAIT | MSG_NOSIGNAL |
		       MSG_CONFIRM | MSG_MORE | MSG_EOR | MSG_DONTROUTE));
	abort_all(s.fd);
	/* Ids that are nobody's: a client's is no reply, a reply is lost. */
	for (bit = 0; bit < 64; bit++) {
		send_call_make(&c);
		c.args.id = 1ULL << bit;
		CHECK(!sendmsg(s.fd, &c.message, 0));
	}
	CHECK(!rpcs_of(s.fd));
}

static void recvmsg_survives_every_pointer(void)
{
	struct bad_pointer list[BAD_POINTERS], *bad;
	struct homa_socket server, s;
	struct receive_call c;

	pair_open(&server, &s);
	receive_call_make(&c);
	bad_pointers_make(list, &c.message, sizeof(c.message));
	FOR_EACH_BAD(bad, list)
		CHECK_BAD(recvmsg(s.fd, bad->at, MSG_DONTWAIT),
			  bad->reads ? EAGAIN : EFAULT, bad);
	bad_pointers_make(list, &c.args, sizeof(c.args));
	FOR_EACH_BAD(bad, list) {
		c.message.msg_control = bad->at;
		CHECK_BAD(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EFAULT, bad);
	}
	receive_call_make(&c);
	bad_pointers_make(list, &c.from, 16);
	/* Nobody's address is written if there is no message. */
	FOR_EACH_BAD(bad, list) {
		c.message.msg_name = bad->at;
		CHECK_BAD(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EAGAIN, bad);
	}
}

/* A message that comes but cannot be told of ends its RPC, and no page is lost. */
static void messages_that_cannot_be_told_of_are_let_go(void)
{
	struct bad_pointer list[BAD_POINTERS], *bad;
	struct homa_socket server, s;
	struct homa_info info = {};
	struct send_call request;
	struct receive_call c;
	struct address from;

	pair_open(&server, &s);
	receive_call_make(&c);
	bad_pointers_make(list, &c.args, sizeof(c.args));
	FOR_EACH_BAD(bad, list) {
		send_call_make(&request);
		CHECK(!sendmsg(s.fd, &request.message, 0));
		c.message.msg_control = bad->at;
		CHECK_BAD(recvmsg(server.fd, &c.message, 0), EFAULT, bad);
		if (bad->reads) {
			CHECK_ERRNO(receive(&s, 0, 0), ECONNABORTED);
			continue;
		}
		/* It was not asked for: the next call has it. */
		CHECK(receive(&server, 0, 0) == 1);
		from.storage = server.from;
		from.length = server.from_length;
		CHECK(!send_reply(&server, &from, server.got.id, "y", 1));
		CHECK(receive(&s, 0, 0) == 1);
	}
	CHECK_ERRNO(receive(&server, 0, MSG_DONTWAIT), EAGAIN);
	CHECK(!ioctl(server.fd, HOMAIOCINFO, &info));
	CHECK(info.bpool_avail_bytes == REGION_BYTES);
}

static void recvmsg_survives_every_length(void)
{
	struct homa_socket server, s;
	struct receive_call c;
	unsigned int bit;
	size_t length;

	pair_open(&server, &s);
	receive_call_make(&c);
	for (length = 0; length <= 256; length++) {
		if (length == sizeof(c.args))
			continue;
		c.message.msg_controllen = length;
		CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EINVAL);
	}
	c.message.msg_controllen = SIZE_MAX;
	CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EINVAL);
	receive_call_make(&c);
	c.message.msg_namelen = INT_MIN;
	CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EINVAL);
	receive_call_make(&c);
	c.message.msg_iovlen = UIO_MAXIOV + 1;
	CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EMSGSIZE);
	/* Pages that are not out cannot be given back. */
	for (length = 1; length < HOMA_MAX_BPAGES; length++) {
		receive_call_make(&c);
		c.args.num_bpages = length;
		CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EINVAL);
		CHECK(!c.args.num_bpages && !c.args.id);
	}
	for (bit = 0; bit < 32; bit++) {
		receive_call_make(&c);
		c.args.num_bpages = 1U << bit;
		c.args.bpage_offsets[0] = 1U << bit;
		CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EINVAL);
		receive_call_make(&c);
		c.args.num_bpages = 1;
		c.args.bpage_offsets[0] = UINT_MAX << bit;
		CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EINVAL);
	}
}

static void recvmsg_survives_every_flag(void)
{
	static const int refused[] = { MSG_OOB, MSG_PEEK, MSG_ERRQUEUE };
	struct homa_socket server, s;
	struct send_call request;
	struct receive_call c;
	unsigned int bit;

	pair_open(&server, &s);
	send_call_make(&request);
	CHECK(!sendmsg(s.fd, &request.message, 0));
	/* A message that was looked at is a message received. */
	for (bit = 0; bit < sizeof(refused) / sizeof(refused[0]); bit++) {
		receive_call_make(&c);
		CHECK_ERRNO(recvmsg(server.fd, &c.message, refused[bit]),
			    EOPNOTSUPP);
	}
	receive_call_make(&c);
	CHECK(recvmsg(server.fd, &c.message, MSG_WAITALL | MSG_TRUNC) == 1);
	for (bit = 0; bit < 64; bit++) {
		receive_call_make(&c);
		c.args.id = 1ULL << bit;
		CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EINVAL);
		CHECK(!c.args.id);
		if (bit >= 32)
			continue;
		receive_call_make(&c);
		c.args.reserved = 1U << bit;
		CHECK_ERRNO(recvmsg(s.fd, &c.message, MSG_DONTWAIT), EINVAL);
	}
}

static void options_survive_every_argument(void)
{
	struct bad_pointer list[BAD_POINTERS], *bad;
	struct homa_rcvbuf_args region = {};
	socklen_t room = sizeof(region);
	char bytes[256] = {};
	struct homa_socket s;
	int name, fd;

	socket_open(&s, AF_INET, 0);
	fd = socket(AF_INET6, SOCK_DGRAM, IPPROTO_HOMA);
	CHECK(fd >= 0);
	for (name = -1; name < 256; name++) {
		if (name == SO_HOMA_RCVBUF || name == SO_HOMA_SERVER ||
		    name == SO_HOMA_UDP)
			continue;
		CHECK_ERRNO(setsockopt(fd, IPPROTO_HOMA, name, bytes, 16),
			    ENOPROTOOPT);
		CHECK_ERRNO(getsockopt(fd, IPPROTO_HOMA, name, bytes, &room),
			    ENOPROTOOPT);
	}
	for (name = -1; name <= (int)sizeof(bytes); name++) {
		if (name != sizeof(region))
			CHECK_ERRNO(setsockopt(fd, IPPROTO_HOMA,
					       SO_HOMA_RCVBUF, bytes, name),
				    EINVAL);
		if (name != sizeof(int)) {
			CHECK_ERRNO(setsockopt(fd, IPPROTO_HOMA,
					       SO_HOMA_SERVER, bytes, name),
				    EINVAL);
			CHECK_ERRNO(setsockopt(fd, IPPROTO_HOMA,
					       SO_HOMA_UDP, bytes, name),
				    EINVAL);
		}
		room = name;
		if (name < (int)sizeof(region))
			CHECK_ERRNO(getsockopt(fd, IPPROTO_HOMA,
					       SO_HOMA_RCVBUF, bytes, &room),
				    EINVAL);
		else
			CHECK(!getsockopt(fd, IPPROTO_HOMA, SO_HOMA_RCVBUF,
					  bytes, &room) &&
			      room == sizeof(region));
	}
	bad_pointers_make(list, &region, sizeof(region));
	FOR_EACH_BAD(bad, list) {
		room = sizeof(region);
		if (!bad->reads)
			CHECK_BAD(setsockopt(fd, IPPROTO_HOMA, SO_HOMA_RCVBUF,
					     bad->at, sizeof(region)),
				  EFAULT, bad);
		CHECK_BAD(getsockopt(s.fd, IPPROTO_HOMA, SO_HOMA_RCVBUF,
				     bad->at, &room), EFAULT, bad);
	}
	bad_pointers_make(list, &room, sizeof(room));
	FOR_EACH_BAD(bad, list)
		CHECK_BAD(getsockopt(s.fd, IPPROTO_HOMA, SO_HOMA_RCVBUF, bytes,
				     bad->at), EFAULT, bad);
}

/* Where a receive region must not begin; how long it must not be. */
static void regions_are_whole_and_writable(void)
{
	struct bad_pointer list[BAD_POINTERS], *bad;
	int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_HOMA);
	struct homa_rcvbuf_args region;
	char *good = map(REGION_BYTES, PROT_READ | PROT_WRITE);
	unsigned int bit;

	CHECK(fd >= 0);
#define REGION(at, bytes) \
	(region = (struct homa_rcvbuf_args){ (uintptr_t)(at), bytes }, \
	 setsockopt(fd, IPPROTO_HOMA, SO_HOMA_RCVBUF, &region, sizeof(region)))
	bad_pointers_make(list, good, 2);
	FOR_EACH_BAD(bad, list) {
		bool aligned = !((uintptr_t)bad->at % PAGE);

		CHECK_BAD(REGION(bad->at, REGION_BYTES),
			  aligned ? EFAULT : EINVAL, bad);
	}
	for (bit = 0; bit < 12; bit++)
		CHECK_ERRNO(REGION(good + (1 << bit), REGION_BYTES), EINVAL);
	for (bit = 0; bit < 21; bit++)
		CHECK_ERRNO(REGION(good, 1ULL << bit), EINVAL);
	for (bit = 33; bit < 64; bit++)
		CHECK_ERRNO(REGION(good, 1ULL << bit), EINVAL);
	CHECK_ERRNO(REGION(good, 0), EINVAL);
	CHECK_ERRNO(REGION(good, UINT64_MAX), EINVAL);
	CHECK(!REGION(good, REGION_BYTES));
}

static void ioctl_survives_every_argument(void)
{
	struct bad_pointer list[BAD_POINTERS], *bad;
	struct homa_abort_args aborted = {};
	struct homa_socket server, s;
	struct send_call request;
	struct homa_info info = {};
	struct homa_rpc_info rpc;
	unsigned int bit;

	pair_open(&server, &s);
	for (bit = 0; bit < 32; bit++) {
		CHECK_ERRNO(ioctl(s.fd, HOMAIOCINFO ^ 1U << bit, &info),
			    HOMAIOCABORT == (HOMAIOCINFO ^ 1U << bit) ? EFAULT :
			    EINVAL);
		CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT ^ 1U << bit, &aborted),
			    EINVAL);
		aborted = (struct homa_abort_args){ .pad1 = 1U << bit };
		CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, &aborted), EINVAL);
		aborted = (struct homa_abort_args){ .pad2[1] = 1ULL << bit };
		CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, &aborted), EINVAL);
		aborted = (struct homa_abort_args){ .pad2[0] = 1ULL << 32 << bit };
		CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, &aborted), EINVAL);
		aborted = (struct homa_abort_args){ .id = 1ULL << bit };
		CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, &aborted), EINVAL);
		aborted = (struct homa_abort_args){ .error = 4096U << bit };
		if (aborted.error)
			CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, &aborted), EINVAL);
	}
	aborted = (struct homa_abort_args){ .id = 4711 };
	bad_pointers_make(list, &aborted, sizeof(aborted));
	FOR_EACH_BAD(bad, list)
		CHECK_BAD(ioctl(s.fd, HOMAIOCABORT, bad->at),
			  bad->reads ? EINVAL : EFAULT, bad);
	bad_pointers_make(list, &info, sizeof(info));
	FOR_EACH_BAD(bad, list)
		CHECK_BAD(ioctl(s.fd, HOMAIOCINFO, bad->at), EFAULT, bad);
	send_call_make(&request);
	CHECK(!sendmsg(s.fd, &request.message, 0));
	bad_pointers_make(list, &rpc, sizeof(rpc));
	FOR_EACH_BAD(bad, list) {
		info.rpc_info = (uintptr_t)bad->at;
		info.rpc_info_length = UINT64_MAX;
		CHECK_BAD(ioctl(s.fd, HOMAIOCINFO, &info), EFAULT, bad);
	}
	/* Nothing fits, so nothing is written. */
	info.rpc_info_length = sizeof(rpc) - 1;
	CHECK(!ioctl(s.fd, HOMAIOCINFO, &info) && info.num_rpcs == 1);
}

static void addresses_survive_every_argument(void)
{
	struct address six = address_of("::", 601), four = address_of("0.0.0.0", 601);
	struct bad_pointer list[BAD_POINTERS], *bad;
	int fd = socket(AF_INET, SOCK_DGRAM, IPPROTO_HOMA);
	int fd6 = socket(AF_INET6, SOCK_DGRAM, IPPROTO_HOMA);
	struct sockaddr *any4 = (struct sockaddr *)&four.storage;
	struct sockaddr *any6 = (struct sockaddr *)&six.storage;
	struct sockaddr_storage name;
	socklen_t length;
	int family, bytes;

	CHECK(fd >= 0 && fd6 >= 0);
	for (bytes = 0; bytes < (int)sizeof(struct sockaddr_in); bytes++)
		CHECK_ERRNO(bind(fd, any4, bytes), EINVAL);
	/* An address of IPv6 without its last field is of old. */
	for (bytes = 0; bytes < (int)sizeof(struct sockaddr_in6) - 4; bytes++)
		CHECK_ERRNO(bind(fd6, any6, bytes), EINVAL);
	CHECK_ERRNO(bind(fd, any4, sizeof(four.storage) + 1), EINVAL);
	CHECK_ERRNO(bind(fd, any4, -1), EINVAL);
	for (family = 0; family < 64; family++) {
		four.storage.ss_family = family;
		if (family != AF_INET)
			CHECK_ERRNO(bind(fd, any4, sizeof(four.storage)),
				    EAFNOSUPPORT);
	}
	four.storage.ss_family = AF_INET;
	bad_pointers_make(list, any4, 16);
	FOR_EACH_BAD(bad, list) {
		if (bad->reads)
			continue;
		CHECK_BAD(bind(fd, bad->at, 16), EFAULT, bad);
		CHECK_BAD(connect(fd, bad->at, 16), EFAULT, bad);
	}
	FOR_EACH_BAD(bad, list) {
		length = sizeof(name);
		CHECK_BAD(getsockname(fd, bad->at, &length), EFAULT, bad);
		CHECK_BAD(getsockname(fd, (void *)&name, bad->at), EFAULT, bad);
	}
	length = sizeof(name);
	CHECK_ERRNO(getpeername(fd, (void *)&name, &length), ENOTCONN);
	CHECK(!bind(fd6, any6, sizeof(six.storage)));
}

const struct test surface_tests[] = {
#define TEST(name) { #name, name }
	TEST(sendmsg_survives_every_pointer),
	TEST(sendmsg_survives_every_length),
	TEST(sendmsg_survives_every_flag),
	TEST(recvmsg_survives_every_pointer),
	TEST(messages_that_cannot_be_told_of_are_let_go),
	TEST(recvmsg_survives_every_length),
	TEST(recvmsg_survives_every_flag),
	TEST(options_survive_every_argument),
	TEST(regions_are_whole_and_writable),
	TEST(ioctl_survives_every_argument),
	TEST(addresses_survive_every_argument),
	{},
};
