// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Other ways to the same calls: many at once, by their numbers, and io_uring,
 * whose rings are laid by hand.
 */
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/net.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

#define ENTRIES 8

/* Both rings and the entries of one io_uring. */
struct ring {
	int fd;
	struct io_uring_params params;
	uint8_t *submit;
	uint8_t *complete;
	struct io_uring_sqe *entries;
};

static void *ring_map(int fd, size_t bytes, off_t which)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			which);

	CHECK(at != MAP_FAILED);
	return at;
}

static void ring_open(struct ring *ring)
{
	struct io_uring_params *p = &ring->params;

	memset(ring, 0, sizeof(*ring));
	ring->fd = syscall(__NR_io_uring_setup, ENTRIES, p);
	CHECK(ring->fd >= 0);
	ring->submit = ring_map(ring->fd, p->sq_off.array + p->sq_entries *
				sizeof(uint32_t), IORING_OFF_SQ_RING);
	ring->complete = ring_map(ring->fd, p->cq_off.cqes + p->cq_entries *
				  sizeof(struct io_uring_cqe),
				  IORING_OFF_CQ_RING);
	ring->entries = ring_map(ring->fd, p->sq_entries *
				 sizeof(struct io_uring_sqe), IORING_OFF_SQES);
}

static _Atomic uint32_t *ring_word(uint8_t *ring, uint32_t offset)
{
	return (_Atomic uint32_t *)(ring + offset);
}

/* Hands a call to the kernel. */
static void ring_submit(struct ring *ring, uint8_t call, int fd,
			struct msghdr *message, uint64_t name)
{
	_Atomic uint32_t *tail = ring_word(ring->submit,
					   ring->params.sq_off.tail);
	uint32_t slot = atomic_load(tail) % ring->params.sq_entries;
	struct io_uring_sqe *entry = &ring->entries[slot];

	memset(entry, 0, sizeof(*entry));
	entry->opcode = call;
	entry->fd = fd;
	entry->addr = (uintptr_t)message;
	entry->len = 1;
	entry->user_data = name;
	atomic_store(ring_word(ring->submit, ring->params.sq_off.array) + slot,
		     slot);
	atomic_fetch_add(tail, 1);
	CHECK(syscall(__NR_io_uring_enter, ring->fd, 1, 0, 0, NULL, 0) == 1);
}

/* Waits for the call of that name to be over; what it returned. */
static int ring_await(struct ring *ring, uint64_t name)
{
	_Atomic uint32_t *head = ring_word(ring->complete,
					   ring->params.cq_off.head);
	struct io_uring_cqe *cqes = (struct io_uring_cqe *)
		(ring->complete + ring->params.cq_off.cqes);
	struct io_uring_cqe *done;
	int result;

	CHECK(syscall(__NR_io_uring_enter, ring->fd, 0, 1,
		      IORING_ENTER_GETEVENTS, NULL, 0) == 0);
	done = &cqes[atomic_load(head) % ring->params.cq_entries];
	if (done->user_data != name)
		FAIL("call %llu was over first", (long long)done->user_data);
	result = done->res;
	atomic_fetch_add(head, 1);
	return result;
}

/* A message and its arguments, ready for sendmsg or recvmsg. */
struct call {
	struct sockaddr_storage name;
	struct iovec part;
	struct homa_sendmsg_args send;
	struct homa_recvmsg_args receive;
	struct msghdr message;
};

static struct msghdr *to_send(struct call *c, const struct address *to,
			      uint64_t id, void *bytes, size_t length)
{
	memset(c, 0, sizeof(*c));
	c->name = to->storage;
	c->part = (struct iovec){ bytes, length };
	c->send.id = id;
	c->message.msg_name = &c->name;
	c->message.msg_namelen = to->length;
	c->message.msg_iov = &c->part;
	c->message.msg_iovlen = 1;
	c->message.msg_control = &c->send;
	return &c->message;
}

static struct msghdr *to_receive(struct call *c)
{
	memset(c, 0, sizeof(*c));
	c->message.msg_name = &c->name;
	c->message.msg_namelen = sizeof(c->name);
	c->message.msg_control = &c->receive;
	c->message.msg_controllen = sizeof(c->receive);
	return &c->message;
}

static void check_bytes(const struct homa_socket *s, const struct call *c,
			const void *wanted, size_t length)
{
	CHECK(c->receive.num_bpages == 1);
	CHECK(!memcmp(s->region + c->receive.bpage_offsets[0], wanted,
		      length));
}

/* Receives that wait before there is anything, at both ends. */
static void io_uring_sends_and_receives(void)
{
	struct address to = address_of("127.0.0.1", 630), from;
	struct call asked, request, reply, answer;
	struct homa_socket server, s;
	struct ring ring;

	socket_open(&server, AF_INET, 630);
	socket_open(&s, AF_INET, 0);
	ring_open(&ring);
	ring_submit(&ring, IORING_OP_RECVMSG, server.fd, to_receive(&asked), 1);
	ring_submit(&ring, IORING_OP_RECVMSG, s.fd, to_receive(&answer), 2);
	ring_submit(&ring, IORING_OP_SENDMSG, s.fd,
		    to_send(&request, &to, 0, "question", 8), 3);
	CHECK(ring_await(&ring, 3) == 0);
	CHECK(request.send.id);
	CHECK(ring_await(&ring, 1) == 8);
	CHECK(asked.receive.id == (request.send.id | 1));
	check_bytes(&server, &asked, "question", 8);
	from = (struct address){ asked.name, asked.message.msg_namelen };
	ring_submit(&ring, IORING_OP_SENDMSG, server.fd,
		    to_send(&reply, &from, asked.receive.id, "answer", 6), 4);
	CHECK(ring_await(&ring, 4) == 0);
	CHECK(ring_await(&ring, 2) == 6);
	CHECK(answer.receive.id == request.send.id);
	check_bytes(&s, &answer, "answer", 6);
}

static void io_uring_says_what_went_wrong(void)
{
	struct address nobody = address_of("127.0.0.1", 631);
	struct call request, answer;
	struct homa_socket s;
	struct ring ring;

	socket_open(&s, AF_INET, 0);
	ring_open(&ring);
	to_send(&request, &nobody, 0, "x", 1);
	request.send.flags = ~0U;
	ring_submit(&ring, IORING_OP_SENDMSG, s.fd, &request.message, 1);
	CHECK(ring_await(&ring, 1) == -EINVAL);
	to_send(&request, &nobody, 0, "x", 1);
	request.message.msg_control = (void *)8;
	ring_submit(&ring, IORING_OP_SENDMSG, s.fd, &request.message, 2);
	CHECK(ring_await(&ring, 2) == -EFAULT);
	ring_submit(&ring, IORING_OP_RECVMSG, s.fd, to_receive(&answer), 3);
	ring_submit(&ring, IORING_OP_SENDMSG, s.fd,
		    to_send(&request, &nobody, 0, "x", 1), 4);
	CHECK(ring_await(&ring, 4) == 0);
	CHECK(ring_await(&ring, 3) == -ENOTCONN);
	CHECK(answer.receive.id == request.send.id);
	/* A receive that waits ends with its socket. */
	ring_submit(&ring, IORING_OP_RECVMSG, s.fd, to_receive(&answer), 5);
	CHECK(!shutdown(s.fd, SHUT_RDWR));
	CHECK(ring_await(&ring, 5) == -ESHUTDOWN);
}

static void many_messages_go_by_one_call(void)
{
	struct address to = address_of("127.0.0.1", 632);
	struct mmsghdr out[3] = {}, in[3] = {};
	struct call requests[3], asked[3];
	struct homa_socket server, s;
	unsigned int i;
	long count = 0;

	socket_open(&server, AF_INET, 632);
	socket_open(&s, AF_INET, 0);
	for (i = 0; i < 3; i++) {
		out[i].msg_hdr = *to_send(&requests[i], &to, 0, "many", 4);
		in[i].msg_hdr = *to_receive(&asked[i]);
	}
	CHECK(syscall(SYS_sendmmsg, s.fd, out, 3, 0) == 3);
	CHECK(requests[0].send.id && requests[2].send.id);
	while (count < 3) {
		long more = syscall(SYS_recvmmsg, server.fd, in + count,
				    3 - count, 0, NULL);

		CHECK(more > 0);
		count += more;
	}
	for (i = 0; i < 3; i++)
		CHECK(in[i].msg_len == 4 && asked[i].receive.id & 1);
}

/* The call that carries all of a socket's calls, which 64-bit programs lack. */
static void the_oldest_call_of_sockets_serves(void)
{
#ifdef SYS_socketcall
	struct address to = address_of("127.0.0.1", 633);
	struct homa_socket server, s;
	struct call request, asked;
	unsigned long arguments[3];

	socket_open(&server, AF_INET, 633);
	socket_open(&s, AF_INET, 0);
	to_send(&request, &to, 0, "old", 3);
	arguments[0] = s.fd;
	arguments[1] = (unsigned long)&request.message;
	arguments[2] = 0;
	CHECK(!syscall(SYS_socketcall, SYS_SENDMSG, arguments));
	to_receive(&asked);
	arguments[0] = server.fd;
	arguments[1] = (unsigned long)&asked.message;
	CHECK(syscall(SYS_socketcall, SYS_RECVMSG, arguments) == 3);
	CHECK(asked.receive.id == (request.send.id | 1));
	check_bytes(&server, &asked, "old", 3);
#endif
}

const struct test way_tests[] = {
#define TEST(name) { #name, name }
	TEST(io_uring_sends_and_receives),
	TEST(io_uring_says_what_went_wrong),
	TEST(many_messages_go_by_one_call),
	TEST(the_oldest_call_of_sockets_serves),
	{},
};
