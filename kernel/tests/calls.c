// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Every call and the errors that it may return. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define BAD_POINTER ((void *)8)

static int homa(int family)
{
	int fd = socket(family, SOCK_DGRAM, IPPROTO_HOMA);

	CHECK(fd >= 0);
	return fd;
}

static int bind_to(int fd, const char *text, int port)
{
	struct address a = address_of(text, port);

	return bind(fd, (struct sockaddr *)&a.storage, a.length);
}

static int port_of(int fd)
{
	struct sockaddr_in sin;
	socklen_t length = sizeof(sin);

	CHECK(!getsockname(fd, (struct sockaddr *)&sin, &length));
	return ntohs(sin.sin_port);
}

static void ports_follow_the_rules(void)
{
	int one = homa(AF_INET), other = homa(AF_INET), six = homa(AF_INET6);
	struct address v4 = address_of("0.0.0.0", 200);

	CHECK(port_of(one) >= HOMA_MIN_DEFAULT_PORT);
	CHECK(port_of(one) != port_of(other));
	CHECK_ERRNO(bind_to(one, "::", 200), EAFNOSUPPORT);
	CHECK_ERRNO(bind_to(six, "0.0.0.0", 200), EAFNOSUPPORT);
	CHECK_ERRNO(bind(one, (struct sockaddr *)&v4.storage, 7), EINVAL);
	CHECK_ERRNO(bind(one, (struct sockaddr *)&v4.storage, 1), EINVAL);
	CHECK_ERRNO(bind_to(one, "0.0.0.0", HOMA_MIN_DEFAULT_PORT), EINVAL);
	CHECK(!bind_to(one, "0.0.0.0", 0));
	CHECK(!bind_to(one, "0.0.0.0", 200));
	CHECK(port_of(one) == 200);
	CHECK(!bind_to(one, "0.0.0.0", 200));
	CHECK_ERRNO(bind_to(other, "0.0.0.0", 200), EADDRINUSE);
	CHECK_ERRNO(bind_to(six, "::", 200), EADDRINUSE);
	close(one);
	CHECK(!bind_to(other, "0.0.0.0", 200));
	CHECK(!shutdown(other, SHUT_RDWR));
	CHECK_ERRNO(bind_to(other, "0.0.0.0", 201), ESHUTDOWN);
}

static void calls_that_homa_has_not_are_refused(void)
{
	struct address a = address_of("127.0.0.1", 200);
	int fd = homa(AF_INET), pair[2];

	CHECK_ERRNO(listen(fd, 1), EOPNOTSUPP);
	CHECK_ERRNO(accept(fd, NULL, NULL), EOPNOTSUPP);
	CHECK_ERRNO(connect(fd, (struct sockaddr *)&a.storage, a.length),
		    EOPNOTSUPP);
	CHECK_ERRNO(socketpair(AF_INET, SOCK_DGRAM, IPPROTO_HOMA, pair),
		    EOPNOTSUPP);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
	CHECK(errno == ENODEV);
	CHECK_ERRNO(shutdown(fd, 3), EINVAL);
	CHECK_ERRNO(ioctl(fd, HOMAIOCFREEZE, 0), EINVAL);
	CHECK_ERRNO(ioctl(fd, 0xdeadbeef, BAD_POINTER), EINVAL);
}

static void options_are_checked(void)
{
	uint8_t *region = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct homa_rcvbuf_args good = { (uintptr_t)region, REGION_BYTES };
	struct homa_rcvbuf_args args = good;
	socklen_t length = sizeof(args);
	int fd = homa(AF_INET), value = 1;

#define SET(option, at, size) setsockopt(fd, IPPROTO_HOMA, option, at, size)
#define GET(option, at, size) getsockopt(fd, IPPROTO_HOMA, option, at, size)
	CHECK_ERRNO(SET(99, &value, sizeof(value)), ENOPROTOOPT);
	CHECK_ERRNO(setsockopt(fd, IPPROTO_UDP, 10, &args, sizeof(args)),
		    ENOPROTOOPT);
	CHECK_ERRNO(SET(SO_HOMA_RCVBUF, &args, sizeof(args) - 1), EINVAL);
	CHECK_ERRNO(SET(SO_HOMA_RCVBUF, BAD_POINTER, sizeof(args)), EFAULT);
	args.start++;
	CHECK_ERRNO(SET(SO_HOMA_RCVBUF, &args, sizeof(args)), EINVAL);
	args = good;
	args.length = 100000;
	CHECK_ERRNO(SET(SO_HOMA_RCVBUF, &args, sizeof(args)), EINVAL);
	args.length = (1ULL << 32) + 1;
	CHECK_ERRNO(SET(SO_HOMA_RCVBUF, &args, sizeof(args)), EINVAL);
	args = good;
	args.start = 0x1000;
	CHECK_ERRNO(SET(SO_HOMA_RCVBUF, &args, sizeof(args)), EFAULT);
	args.start = ~0xfffULL;
	CHECK_ERRNO(SET(SO_HOMA_RCVBUF, &args, sizeof(args)), EFAULT);
	args = good;
	args.length += 5;
	CHECK(!SET(SO_HOMA_RCVBUF, &args, sizeof(args)));
	CHECK_ERRNO(SET(SO_HOMA_RCVBUF, &args, sizeof(args)), EINVAL);
	memset(&args, 0xff, sizeof(args));
	CHECK(!GET(SO_HOMA_RCVBUF, &args, &length));
	CHECK(length == sizeof(args) && args.start == good.start &&
	      args.length == good.length);

	length = sizeof(value);
	CHECK(!GET(SO_HOMA_SERVER, &value, &length) && value == 0);
	CHECK(!bind_to(fd, "0.0.0.0", 210));
	CHECK(!GET(SO_HOMA_SERVER, &value, &length) && value == 1);
	value = 0;
	CHECK_ERRNO(SET(SO_HOMA_SERVER, &value, 3), EINVAL);
	CHECK(!SET(SO_HOMA_SERVER, &value, sizeof(value)));
	length = 100;
	CHECK(!GET(SO_HOMA_SERVER, &value, &length) && value == 0);
	CHECK(length == sizeof(value));
	length = 2;
	CHECK_ERRNO(GET(SO_HOMA_SERVER, &value, &length), EINVAL);
	length = sizeof(value);
	CHECK_ERRNO(GET(SO_HOMA_SERVER, BAD_POINTER, &length), EFAULT);
	CHECK_ERRNO(GET(SO_HOMA_SERVER, &value, BAD_POINTER), EFAULT);
	CHECK_ERRNO(GET(77, &value, &length), ENOPROTOOPT);
}

static void sendmsg_checks_what_it_is_given(void)
{
	struct address to = address_of("127.0.0.1", 220), six;
	struct homa_sendmsg_args good = {}, args;
	uint8_t byte = 1;
	struct iovec part = { &byte, 1 };
	struct msghdr message;
	int fd = homa(AF_INET);
	uint8_t *large = malloc(HOMA_MAX_MESSAGE_LENGTH + 1);

	six = address_of("::1", 220);
#define RESET() \
	do { \
		args = good; \
		part.iov_base = &byte; \
		part.iov_len = 1; \
		memset(&message, 0, sizeof(message)); \
		message.msg_name = &to.storage; \
		message.msg_namelen = to.length; \
		message.msg_iov = &part; \
		message.msg_iovlen = 1; \
		message.msg_control = &args; \
	} while (0)
#define REFUSED(error) \
	do { \
		CHECK_ERRNO(sendmsg(fd, &message, 0), error); \
		RESET(); \
	} while (0)
	RESET();
	message.msg_name = NULL;
	REFUSED(EINVAL);
	message.msg_control = NULL;
	REFUSED(EINVAL);
	message.msg_control = BAD_POINTER;
	REFUSED(EFAULT);
	args.flags = 2;
	REFUSED(EINVAL);
	args.reserved = 1;
	REFUSED(EINVAL);
	message.msg_namelen = 7;
	REFUSED(EINVAL);
	message.msg_namelen = 1;
	REFUSED(EINVAL);
	message.msg_name = &six.storage;
	message.msg_namelen = six.length;
	REFUSED(EAFNOSUPPORT);
	part.iov_len = 0;
	REFUSED(EINVAL);
	part.iov_base = large;
	part.iov_len = HOMA_MAX_MESSAGE_LENGTH + 1;
	REFUSED(EINVAL);
	part.iov_base = BAD_POINTER;
	REFUSED(EFAULT);
	part.iov_base = BAD_POINTER;
	part.iov_len = 10000;
	REFUSED(EFAULT);
	args.id = 3;
	args.completion_cookie = 1;
	REFUSED(EINVAL);
	/* An answer to nobody goes nowhere. */
	args.id = 3;
	CHECK(!sendmsg(fd, &message, 0));
	RESET();
	CHECK(send(fd, &byte, 1, 0) < 0 && errno == EINVAL);
	CHECK_ERRNO(write(fd, &byte, 1), EINVAL);
	to = address_of("10.98.0.1", 220);
	REFUSED(ENETUNREACH);
	to = address_of("127.0.0.1", 0);
	REFUSED(EINVAL);
	CHECK(!shutdown(fd, SHUT_RD));
	to = address_of("127.0.0.1", 220);
	REFUSED(ESHUTDOWN);
}

static void recvmsg_checks_what_it_is_given(void)
{
	struct homa_recvmsg_args args = {};
	struct homa_socket s;
	struct msghdr message = { .msg_control = &args };
	int bare = homa(AF_INET);
	char byte;

	message.msg_controllen = sizeof(args);
	CHECK_ERRNO(recvmsg(bare, &message, MSG_DONTWAIT), EINVAL);
	socket_open(&s, AF_INET, 0);
	message.msg_controllen = sizeof(args) - 1;
	CHECK_ERRNO(recvmsg(s.fd, &message, MSG_DONTWAIT), EINVAL);
	message.msg_controllen = sizeof(args) + 1;
	CHECK_ERRNO(recvmsg(s.fd, &message, MSG_DONTWAIT), EINVAL);
	message.msg_controllen = sizeof(args);
	message.msg_control = BAD_POINTER;
	CHECK_ERRNO(recvmsg(s.fd, &message, MSG_DONTWAIT), EFAULT);
	CHECK_ERRNO(recv(s.fd, &byte, 1, MSG_DONTWAIT), EINVAL);
	s.got.num_bpages = HOMA_MAX_BPAGES + 1;
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EINVAL);
	memset(&s.got, 0, sizeof(s.got));
	s.got.reserved = 1;
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EINVAL);
	memset(&s.got, 0, sizeof(s.got));
	s.got.num_bpages = 1;
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EINVAL);
	CHECK(s.got.num_bpages == 0);
	s.got.num_bpages = 1;
	s.got.bpage_offsets[0] = 0xffffffff;
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EINVAL);
	CHECK_ERRNO(receive(&s, 12345678, MSG_DONTWAIT), EINVAL);
	CHECK(s.got.id == 0);
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EAGAIN);
	CHECK(!shutdown(s.fd, SHUT_RDWR));
	CHECK_ERRNO(receive(&s, 0, 0), ESHUTDOWN);
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), ESHUTDOWN);
}

static void pages_are_given_back_once(void)
{
	struct address to = address_of(FAR_V4, 230);
	struct homa_recvmsg_args again;
	struct homa_socket s;

	start_far_echo(AF_INET, 230);
	socket_open(&s, AF_INET, 0);
	echo_once(&s, &to, 70000, 1);
	again = s.got;
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EAGAIN);
	s.got = again;
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EINVAL);
	echo_once(&s, &to, 70000, 2);
}

static void a_private_response_goes_to_who_asks_for_it(void)
{
	struct address to = address_of(FAR_V4, 240);
	struct pollfd poll_fd;
	struct homa_socket s;
	uint64_t id, shared;

	start_far_echo(AF_INET, 240);
	socket_open(&s, AF_INET, 0);
	CHECK(!send_request(&s, &to, "private", 7, 11,
			    HOMA_SENDMSG_PRIVATE, &id));
	usleep(200000);
	poll_fd = (struct pollfd){ .fd = s.fd, .events = POLLIN };
	CHECK(poll(&poll_fd, 1, 0) == 0);
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EAGAIN);
	CHECK(receive(&s, id, 0) == 7);
	CHECK(s.got.id == id && s.got.completion_cookie == 11);
	CHECK_ERRNO(receive(&s, id, 0), EINVAL);
	/* One that is not private cannot be asked for. */
	memset(&s.got, 0, sizeof(s.got));
	CHECK(!send_request(&s, &to, "shared", 6, 12, 0, &shared));
	CHECK_ERRNO(receive(&s, shared, 0), EINVAL);
	CHECK(receive(&s, 0, 0) == 6 && s.got.id == shared);
	/* A thread that waits for it is woken. */
	CHECK(!send_request(&s, &to, "private", 7, 13,
			    HOMA_SENDMSG_PRIVATE, &id));
	CHECK(receive(&s, id, 0) == 7);
}

static void poll_and_epoll_tell_of_messages(void)
{
	struct address to = address_of(FAR_V4, 250);
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd poll_fd;
	struct homa_socket s;
	int epoll = epoll_create1(0);

	start_far_echo(AF_INET, 250);
	socket_open(&s, AF_INET, 0);
	poll_fd = (struct pollfd){ .fd = s.fd, .events = POLLIN | POLLOUT };
	CHECK(poll(&poll_fd, 1, 0) == 1 && poll_fd.revents == POLLOUT);
	CHECK(!epoll_ctl(epoll, EPOLL_CTL_ADD, s.fd, &event));
	CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
	CHECK(!send_request(&s, &to, "hello", 5, 1, 0, NULL));
	CHECK(epoll_wait(epoll, &event, 1, 5000) == 1);
	CHECK(event.events & EPOLLIN);
	CHECK(receive(&s, 0, MSG_DONTWAIT) == 5);
	CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
	shutdown(s.fd, SHUT_RDWR);
	CHECK(epoll_wait(epoll, &event, 1, 5000) == 1);
}

static void on_alarm(int signal)
{
}

static void waits_end_by_time_and_by_signal(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct timeval limit = { .tv_usec = 100000 };
	struct homa_socket s;

	socket_open(&s, AF_INET, 0);
	setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	CHECK_ERRNO(receive(&s, 0, 0), EAGAIN);
	sigaction(SIGALRM, &action, NULL);
	limit.tv_usec = 0;
	setsockopt(s.fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	ualarm(100000, 0);
	CHECK_ERRNO(receive(&s, 0, 0), EINTR);
	CHECK(!fcntl(s.fd, F_SETFL, O_NONBLOCK));
	CHECK_ERRNO(receive(&s, 0, 0), EAGAIN);
	alarm(60);
}

static void aborted_rpcs_end_as_asked(void)
{
	struct address to = address_of(FAR_V4, 260);
	struct homa_abort_args args = {};
	struct homa_socket s, server;
	uint64_t id;

	net_far();
	socket_open(&server, AF_INET, 260);
	net_near();
	socket_open(&s, AF_INET, 0);
	CHECK(!send_request(&s, &to, "x", 1, 21, 0, &id));
	args.id = id;
	args.error = ECANCELED;
	args.pad1 = 1;
	CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, &args), EINVAL);
	args.pad1 = 0;
	CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, BAD_POINTER), EFAULT);
	CHECK(!ioctl(s.fd, HOMAIOCABORT, &args));
	CHECK_ERRNO(receive(&s, 0, 0), ECANCELED);
	CHECK(s.got.id == id && s.got.completion_cookie == 21);
	CHECK(s.got.num_bpages == 0);
	CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, &args), EINVAL);
	CHECK(!send_request(&s, &to, "x", 1, 22, 0, &id));
	CHECK(!send_request(&s, &to, "x", 1, 23, 0, &id));
	memset(&args, 0, sizeof(args));
	CHECK(!ioctl(s.fd, HOMAIOCABORT, &args));
	usleep(50000);
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EAGAIN);
	args.id = 4711;
	CHECK_ERRNO(ioctl(s.fd, HOMAIOCABORT, &args), EINVAL);
}

static void a_port_of_nobody_is_told_at_once(void)
{
	struct address v4 = address_of(FAR_V4, 270);
	struct address v6 = address_of(FAR_V6, 270);
	struct homa_socket s, six;

	socket_open(&s, AF_INET, 0);
	socket_open(&six, AF_INET6, 0);
	CHECK(!send_request(&s, &v4, "x", 1, 31, 0, NULL));
	CHECK_ERRNO(receive(&s, 0, 0), ENOTCONN);
	CHECK(s.got.completion_cookie == 31);
	CHECK(!send_request(&six, &v6, "x", 1, 32, 0, NULL));
	CHECK_ERRNO(receive(&six, 0, 0), ENOTCONN);
}

static void a_silent_host_is_given_up(void)
{
	struct address to = address_of("10.99.0.77", 280);
	struct homa_socket s;

	socket_open(&s, AF_INET, 0);
	CHECK(!send_request(&s, &to, "x", 1, 41, 0, NULL));
	CHECK(receive(&s, 0, 0) == -1);
	CHECK(errno == ETIMEDOUT || errno == EHOSTUNREACH);
	CHECK(s.got.completion_cookie == 41);
}

static void info_tells_what_a_socket_holds(void)
{
	struct address to = address_of(FAR_V4, 290);
	struct homa_rpc_info rpcs[4];
	struct homa_info info = {};
	struct homa_socket s, server;
	uint64_t id;

	net_far();
	socket_open(&server, AF_INET, 290);
	net_near();
	socket_open(&s, AF_INET, 0);
	CHECK_ERRNO(ioctl(s.fd, HOMAIOCINFO, BAD_POINTER), EFAULT);
	CHECK(!ioctl(s.fd, HOMAIOCINFO, &info));
	CHECK(!info.num_rpcs && info.port == (unsigned int)port_of(s.fd));
	CHECK(info.bpool_avail_bytes == REGION_BYTES);
	CHECK(!send_request(&s, &to, "hello", 5, 51, HOMA_SENDMSG_PRIVATE,
			    &id));
	CHECK(!send_request(&s, &to, "hello", 5, 52, 0, NULL));
	info.rpc_info = (uintptr_t)rpcs;
	info.rpc_info_length = sizeof(rpcs[0]);
	CHECK(!ioctl(s.fd, HOMAIOCINFO, &info));
	CHECK(info.num_rpcs == 2);
	CHECK(rpcs[0].id == id && rpcs[0].tx_length == 5);
	CHECK(rpcs[0].rx_length == -1 && rpcs[0].completion_cookie == 51);
	CHECK(rpcs[0].flags == HOMA_RPC_PRIVATE);
	info.rpc_info = (uintptr_t)BAD_POINTER;
	CHECK_ERRNO(ioctl(s.fd, HOMAIOCINFO, &info), EFAULT);
	shutdown(s.fd, SHUT_RDWR);
	CHECK_ERRNO(ioctl(s.fd, HOMAIOCINFO, &info), ESHUTDOWN);
}

static void an_unwritable_region_costs_its_message_alone(void)
{
	struct address to = address_of(FAR_V4, 300);
	struct homa_socket s;

	start_far_echo(AF_INET, 300);
	socket_open(&s, AF_INET, 0);
	CHECK(!mprotect(s.region, REGION_BYTES, PROT_READ));
	CHECK(!send_request(&s, &to, "hello", 5, 1, 0, NULL));
	CHECK_ERRNO(receive(&s, 0, 0), EFAULT);
	CHECK(!mprotect(s.region, REGION_BYTES, PROT_READ | PROT_WRITE));
	echo_once(&s, &to, 70000, 1);
}

static void answers_go_only_to_requests_in_service(void)
{
	struct address to = address_of(FAR_V4, 310), from;
	struct homa_socket s, server;
	uint64_t id;

	net_far();
	socket_open(&server, AF_INET, 310);
	net_near();
	socket_open(&s, AF_INET, 0);
	CHECK(!send_request(&s, &to, "hello", 5, 1, 0, &id));
	CHECK(receive(&server, 0, 0) == 5);
	CHECK(server.got.id == (id | 1) && !server.got.completion_cookie);
	from.storage = server.from;
	from.length = server.from_length;
	CHECK_ERRNO(send_reply(&s, &to, id, "there", 5), EINVAL);
	/* The response is lost, so nobody acknowledges it meanwhile. */
	net_loss(100);
	CHECK(!send_reply(&server, &from, server.got.id, "there", 5));
	CHECK_ERRNO(send_reply(&server, &from, server.got.id, "there", 5),
		    EINVAL);
	net_loss(0);
	CHECK(receive(&s, 0, 0) == 5);
}

static void the_counters_can_be_read(void)
{
	char name[64], line[256];
	unsigned long long value;
	unsigned int lines = 0;
	FILE *file = fopen("/proc/net/homa_metrics", "r");

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		CHECK(sscanf(line, "%63s %llu #", name, &value) == 2);
		lines++;
	}
	CHECK(lines > 20);
}

const struct test call_tests[] = {
#define TEST(name) { #name, name }
	TEST(ports_follow_the_rules),
	TEST(calls_that_homa_has_not_are_refused),
	TEST(options_are_checked),
	TEST(sendmsg_checks_what_it_is_given),
	TEST(recvmsg_checks_what_it_is_given),
	TEST(pages_are_given_back_once),
	TEST(a_private_response_goes_to_who_asks_for_it),
	TEST(poll_and_epoll_tell_of_messages),
	TEST(waits_end_by_time_and_by_signal),
	TEST(aborted_rpcs_end_as_asked),
	TEST(a_port_of_nobody_is_told_at_once),
	TEST(a_silent_host_is_given_up),
	TEST(info_tells_what_a_socket_holds),
	TEST(an_unwritable_region_costs_its_message_alone),
	TEST(answers_go_only_to_requests_in_service),
	TEST(the_counters_can_be_read),
	{},
};
