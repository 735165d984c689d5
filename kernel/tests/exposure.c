// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What programs get to see, and what becomes of a region that goes away. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

#define FILL 0xa5

static bool all_are(const void *bytes, size_t length, uint8_t value)
{
	const uint8_t *at = bytes;

	while (length--)
		if (*at++ != value)
			return false;
	return true;
}

/* A request of 5 bytes that its server has received. */
static void exchange(int family, const char *host, int port,
		     struct homa_socket *server, struct homa_socket *s)
{
	struct address to = address_of(host, port);

	socket_open(server, family, port);
	memset(server->region, FILL, REGION_BYTES);
	socket_open(s, family, 0);
	CHECK(!send_request(s, &to, "hello", 5, 0, 0, NULL));
	memset(&server->from, FILL, sizeof(server->from));
	/* Of the pages that are given back, 0, the call reads none. */
	memset(server->got.bpage_offsets, FILL,
	       sizeof(server->got.bpage_offsets));
	CHECK(receive(server, 0, 0) == 5);
}

static void check_received(const struct homa_socket *server)
{
	const struct homa_recvmsg_args *got = &server->got;
	size_t length = server->from_length;
	size_t page;

	CHECK(got->num_bpages == 1 && !got->reserved);
	CHECK(!got->completion_cookie);
	CHECK(all_are(&got->bpage_offsets[1],
		      sizeof(got->bpage_offsets) - 4, 0));
	/* No byte of the region but those of the message was touched. */
	page = got->bpage_offsets[0];
	CHECK(!memcmp(server->region + page, "hello", 5));
	CHECK(all_are(server->region, page, FILL));
	CHECK(all_are(server->region + page + 5, REGION_BYTES - page - 5,
		      FILL));
	CHECK(all_are((char *)&server->from + length,
		      sizeof(server->from) - length, FILL));
}

static void check_info(int fd, size_t name_length)
{
	struct homa_rpc_info rpcs[2];
	struct homa_info info;

	memset(&info, FILL, sizeof(info));
	memset(rpcs, FILL, sizeof(rpcs));
	info.rpc_info = (uintptr_t)rpcs;
	info.rpc_info_length = sizeof(rpcs);
	CHECK(!ioctl(fd, HOMAIOCINFO, &info));
	CHECK(info.num_rpcs == 1);
	CHECK(all_are(info.error_msg, sizeof(info.error_msg), 0));
	CHECK(all_are((char *)&rpcs[0].peer + name_length,
		      sizeof(rpcs[0].peer) - name_length, 0));
	/* Behind the flags is padding. */
	CHECK(all_are(&rpcs[0].flags + 1, 2, 0));
	CHECK(all_are(&rpcs[1], sizeof(rpcs[1]), FILL));
}

static void padding_and_what_is_unused_is_zero(void)
{
	struct sockaddr_in name;
	struct sockaddr_in6 name6;
	socklen_t length = sizeof(name);
	struct homa_socket server, s;

	exchange(AF_INET, "127.0.0.1", 610, &server, &s);
	check_received(&server);
	CHECK(server.from_length == sizeof(name));
	memcpy(&name, &server.from, sizeof(name));
	CHECK(all_are(name.sin_zero, sizeof(name.sin_zero), 0));
	check_info(server.fd, sizeof(name));
	check_info(s.fd, sizeof(name));
	memset(&name, FILL, sizeof(name));
	CHECK(!getsockname(s.fd, (struct sockaddr *)&name, &length));
	CHECK(all_are(name.sin_zero, sizeof(name.sin_zero), 0));
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EAGAIN);
	CHECK(all_are(&s.got, sizeof(s.got), 0));

	exchange(AF_INET6, "::1", 611, &server, &s);
	check_received(&server);
	CHECK(server.from_length == sizeof(name6));
	memcpy(&name6, &server.from, sizeof(name6));
	CHECK(!name6.sin6_flowinfo && !name6.sin6_scope_id);
	check_info(server.fd, sizeof(name6));
}

/* INFO at each stage of an RPC of which the network loses the rest. */
static void info_tells_how_far_a_message_is(void)
{
	struct address to = address_of(FAR_V4, 612);
	struct homa_socket server, s;
	struct homa_rpc_info rpc;
	struct homa_info info = {};
	uint8_t *bytes = calloc(1, 200000);

	net_far();
	socket_open(&server, AF_INET, 612);
	net_near();
	socket_open(&s, AF_INET, 0);
	net_loss(100);
	CHECK(!send_request(&s, &to, bytes, 200000, 0, 0, NULL));
	info.rpc_info = (uintptr_t)&rpc;
	info.rpc_info_length = sizeof(rpc);
	CHECK(!ioctl(s.fd, HOMAIOCINFO, &info));
	CHECK(info.num_rpcs == 1 && rpc.tx_length == 200000);
	/* Its unscheduled bytes were sent; the grant for more does not come. */
	CHECK(rpc.tx_granted >= 1000 && rpc.tx_granted < 200000);
	CHECK(rpc.tx_sent <= rpc.tx_granted);
	CHECK(rpc.rx_length == -1 && !rpc.rx_remaining && !rpc.rx_granted);
	net_loss(0);
	CHECK(receive(&server, 0, 0) == 200000);
	info.rpc_info_length = sizeof(rpc);
	CHECK(!ioctl(server.fd, HOMAIOCINFO, &info));
	CHECK(info.num_rpcs == 1 && rpc.tx_length == -1 && !rpc.rx_remaining);
	CHECK(!rpc.rx_gaps && !rpc.rx_gap_bytes);
	/* Messages begin at cache lines, so this one takes whole ones. */
	CHECK(info.bpool_avail_bytes == REGION_BYTES - 200000 / 64 * 64);
	free(bytes);
}

/* Five of the longest messages, and a region in which four of them lie. */
static void info_tells_of_messages_that_wait_for_room(void)
{
	struct address to = address_of("127.0.0.1", 615);
	uint8_t *bytes = calloc(1, HOMA_MAX_MESSAGE_LENGTH);
	struct homa_recvmsg_args first;
	struct homa_socket server, s;
	struct homa_rpc_info rpcs[5];
	struct homa_info info = {
		.rpc_info = (uintptr_t)rpcs,
		.rpc_info_length = sizeof(rpcs),
	};
	unsigned int i;

	socket_open(&server, AF_INET, 615);
	socket_open(&s, AF_INET, 0);
	for (i = 0; i < 5; i++)
		CHECK(!send_request(&s, &to, bytes, HOMA_MAX_MESSAGE_LENGTH, 0,
				    0, NULL));
	for (i = 0; i < 4; i++) {
		/* Nothing is given back. */
		memset(&server.got, 0, sizeof(server.got));
		CHECK(receive(&server, 0, 0) == HOMA_MAX_MESSAGE_LENGTH);
		if (!i)
			first = server.got;
	}
	do {
		CHECK(!ioctl(server.fd, HOMAIOCINFO, &info));
		CHECK(info.num_rpcs <= 5);
		for (i = 0; i < info.num_rpcs; i++)
			if (rpcs[i].flags & HOMA_RPC_RX_READY)
				break;
	} while (i == info.num_rpcs);
	CHECK(rpcs[i].flags == (HOMA_RPC_RX_READY | HOMA_RPC_BUF_STALL));
	memset(&server.got, 0, sizeof(server.got));
	CHECK_ERRNO(receive(&server, 0, MSG_DONTWAIT), EAGAIN);
	server.got = first;
	CHECK(receive(&server, 0, 0) == HOMA_MAX_MESSAGE_LENGTH);
	free(bytes);
}

/* A region that comes and goes until it is told to stay. */
struct spoiler {
	struct homa_socket *socket;
	atomic_bool over;
	pthread_t thread;
};

static void *spoil(void *argument)
{
	struct spoiler *spoiler = argument;
	uint8_t *region = spoiler->socket->region;
	unsigned int turn;

	for (turn = 0; !atomic_load(&spoiler->over); turn++) {
		switch (turn % 3) {
		case 0:
			munmap(region, REGION_BYTES);
			break;
		case 1:
			mprotect(region, REGION_BYTES, PROT_NONE);
			break;
		default:
			madvise(region, REGION_BYTES, MADV_DONTNEED);
		}
		usleep(turn % 500);
		mmap(region, REGION_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		usleep(turn % 300);
	}
	return NULL;
}

static void a_region_may_go_while_messages_come(void)
{
	struct address to = address_of(FAR_V4, 613);
	struct spoiler spoiler = {};
	struct homa_info info = {};
	unsigned int lost = 0, i;
	struct homa_socket s;
	uint8_t *bytes = calloc(1, 100000);

	start_far_echo(AF_INET, 613);
	socket_open(&s, AF_INET, 0);
	spoiler.socket = &s;
	CHECK(!pthread_create(&spoiler.thread, NULL, spoil, &spoiler));
	for (i = 0; i < 300; i++) {
		size_t length = 1 + i * 7919 % 100000;

		CHECK(!send_request(&s, &to, bytes, length, i, 0, NULL));
		if (receive(&s, 0, 0) == (long)length)
			continue;
		CHECK(errno == EFAULT && s.got.completion_cookie == i);
		CHECK(!s.got.num_bpages);
		lost++;
	}
	atomic_store(&spoiler.over, true);
	CHECK(!pthread_join(spoiler.thread, NULL));
	if (!lost)
		FAIL("the region was there whenever a message came");
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EAGAIN);
	CHECK(!ioctl(s.fd, HOMAIOCINFO, &info));
	CHECK(info.bpool_avail_bytes == REGION_BYTES && !info.num_rpcs);
	echo_once(&s, &to, 100000, 1);
	free(bytes);
}

/* Two threads' pages lie under each other's calls. */
static void *unmap_arguments(void *argument)
{
	struct spoiler *spoiler = argument;
	void *page = spoiler->socket->region;
	unsigned int turn;

	for (turn = 0; !atomic_load(&spoiler->over); turn++) {
		mprotect(page, 4096, turn % 2 ? PROT_NONE : PROT_READ);
		usleep(turn % 7);
		mprotect(page, 4096, PROT_READ | PROT_WRITE);
		usleep(turn % 11);
	}
	return NULL;
}

/* A page, and another place where it can be written meanwhile. */
static uint8_t *page_make(struct homa_sendmsg_args **alias)
{
	int fd = memfd_create("arguments", MFD_CLOEXEC);
	uint8_t *page;

	CHECK(fd >= 0 && !ftruncate(fd, 4096));
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*alias = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(page != MAP_FAILED && *alias != MAP_FAILED);
	return page;
}

static void arguments_may_go_while_they_are_read(void)
{
	struct homa_sendmsg_args *alias;
	uint8_t *page = page_make(&alias);
	struct address to = address_of("127.0.0.1", 614);
	struct homa_abort_args *all = (void *)(page + 128);
	struct homa_socket there = { .region = page }, server, s;
	struct spoiler spoiler = { .socket = &there };
	struct iovec part = { page + 512, 100 };
	struct msghdr message = {
		.msg_name = &to.storage,
		.msg_namelen = to.length,
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = page,
	};
	struct homa_abort_args none = {};
	struct homa_info info = {};
	unsigned int i;

	socket_open(&server, AF_INET, 614);
	socket_open(&s, AF_INET, 0);
	CHECK(!pthread_create(&spoiler.thread, NULL, unmap_arguments,
			      &spoiler));
	for (i = 0; i < 2000; i++) {
		alias->id = 0;
		if (sendmsg(s.fd, &message, 0))
			CHECK(errno == EFAULT);
		if (ioctl(s.fd, HOMAIOCABORT, all))
			CHECK(errno == EFAULT);
		CHECK(!ioctl(s.fd, HOMAIOCABORT, &none));
	}
	atomic_store(&spoiler.over, true);
	CHECK(!pthread_join(spoiler.thread, NULL));
	CHECK(!ioctl(s.fd, HOMAIOCABORT, &none));
	CHECK(!ioctl(s.fd, HOMAIOCINFO, &info) && !info.num_rpcs);
}

const struct test exposure_tests[] = {
#define TEST(name) { #name, name }
	TEST(padding_and_what_is_unused_is_zero),
	TEST(info_tells_how_far_a_message_is),
	TEST(info_tells_of_messages_that_wait_for_room),
	TEST(a_region_may_go_while_messages_come),
	TEST(arguments_may_go_while_they_are_read),
	{},
};
