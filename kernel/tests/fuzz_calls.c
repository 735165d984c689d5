// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Each kind of call of chance, on sockets that all threads of a process share. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "fuzz.h"

#define SOCKETS 12
#define REGION_OF_CHANCE (20 * HOMA_BPAGE_SIZE)
#define FIRST_PORT 800
#define PORTS 6
#define KNOWN 64
#define PARTS 6

/* A socket that any thread may use, close or replace at any time. */
struct slot {
	_Atomic int fd;
	uint8_t *region;
};

/* A message that came: where, of which RPC, and from whom. */
struct known {
	int fd;
	uint64_t id;
	struct address peer;
	struct homa_recvmsg_args got;
};

static struct slot slots[SOCKETS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct known messages[KNOWN];
static unsigned int messages_known;
static _Atomic uint64_t ids[KNOWN];
static _Atomic unsigned int ids_known;
static uint8_t *payload;
static int raw_v4, raw_v6, epoll;

static struct slot *any_slot(struct chance *c)
{
	return &slots[below(c, SOCKETS)];
}

static int any_fd(struct chance *c)
{
	return any_slot(c)->fd;
}

static uint64_t any_id(struct chance *c)
{
	unsigned int count = ids_known;

	return number(c, ids[below(c, count < KNOWN ? count : KNOWN)]);
}

static void know(uint64_t id)
{
	ids[ids_known++ % KNOWN] = id;
}

static struct address any_address(struct chance *c)
{
	static const char *const hosts[] = {
		"127.0.0.1", "127.0.0.1", NEAR_V4, FAR_V4, "10.99.0.77",
		"255.255.255.255", "224.0.0.1", "0.0.0.0", "::1", NEAR_V6,
		FAR_V6, "::ffff:127.0.0.1", "::ffff:10.99.0.2", "ff02::1",
		"::", "fe80::1",
	};
	uint32_t common = one_in(c, 4) ? sizeof(hosts) / sizeof(hosts[0]) : 4;
	int port = number(c, FIRST_PORT + below(c, PORTS));
	struct address a = address_of(hosts[below(c, common)], port);

	a.length = number(c, a.length);
	return a;
}

static uint32_t any_flags(struct chance *c, uint32_t right)
{
	return c->mood == WILD ? any(c) & ~MSG_WAITALL : right;
}

/* Closes what was there before; -1 if nothing was. */
static long slot_replace(struct slot *slot, int fd)
{
	return close(atomic_exchange(&slot->fd, fd));
}

static long call_socket(struct chance *c)
{
	struct slot *slot = any_slot(c);
	struct timeval moment = { 0, 20000 };
	struct homa_rcvbuf_args region = {
		.start = (uintptr_t)slot->region,
		.length = number(c, REGION_OF_CHANCE),
	};
	int one = 1, fd;

	fd = socket(one_in(c, 3) ? AF_INET6 : AF_INET,
		    number(c, SOCK_DGRAM) | SOCK_CLOEXEC, IPPROTO_HOMA);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &moment, sizeof(moment));
	if (!one_in(c, 8))
		setsockopt(fd, IPPROTO_HOMA, SO_HOMA_RCVBUF, &region,
			   sizeof(region));
	if (one_in(c, 3))
		setsockopt(fd, IPPROTO_HOMA, SO_HOMA_UDP, &one, sizeof(one));
	slot_replace(slot, fd);
	return fd;
}

static long call_close(struct chance *c)
{
	return slot_replace(any_slot(c), -1);
}

static long call_bind(struct chance *c)
{
	struct address a = any_address(c);

	if (c->mood == RIGHT)
		a = address_of(one_in(c, 3) ? "::" : "0.0.0.0",
			       FIRST_PORT + below(c, PORTS));
	return syscall(SYS_bind, any_fd(c), given(c, &a.storage, a.length &
						  127), a.length);
}

static const int options[][2] = {
	{ IPPROTO_HOMA, SO_HOMA_SERVER }, { IPPROTO_HOMA, SO_HOMA_UDP },
	{ IPPROTO_HOMA, SO_HOMA_RCVBUF }, { SOL_SOCKET, SO_RCVBUF },
	{ SOL_SOCKET, SO_SNDBUF },	  { SOL_SOCKET, SO_PRIORITY },
	{ SOL_SOCKET, SO_MARK },	  { SOL_SOCKET, SO_BINDTODEVICE },
	{ SOL_SOCKET, SO_LINGER },	  { SOL_SOCKET, SO_BUSY_POLL },
	{ IPPROTO_IP, IP_TOS },		  { IPPROTO_IP, IP_OPTIONS },
	{ IPPROTO_IP, IP_MTU_DISCOVER },  { IPPROTO_IPV6, IPV6_V6ONLY },
	{ IPPROTO_IPV6, IPV6_TCLASS },	  { IPPROTO_IPV6, IPV6_ADDRFORM },
	{ IPPROTO_IPV6, IPV6_PKTINFO },	  { IPPROTO_UDP, 100 },
};

#define OPTIONS (sizeof(options) / sizeof(options[0]))

/* Homa's own more often than what all sockets have. */
static const int *any_option(struct chance *c)
{
	return options[below(c, one_in(c, 2) ? 3 : OPTIONS)];
}

static long call_setsockopt(struct chance *c)
{
	const int *option = any_option(c);
	struct slot *slot = any_slot(c);
	uint64_t value[3] = { number(c, one_in(c, 2)), number(c, 0), 0 };
	size_t length = 4;

	if (option[1] == SO_HOMA_RCVBUF && option[0] == IPPROTO_HOMA) {
		value[0] = number(c, (uintptr_t)slot->region);
		value[1] = number(c, REGION_OF_CHANCE);
		length = sizeof(struct homa_rcvbuf_args);
	}
	return syscall(SYS_setsockopt, slot->fd, option[0],
		       number(c, option[1]), given(c, value, sizeof(value)),
		       (uint32_t)number(c, length));
}

static long call_getsockopt(struct chance *c)
{
	const int *option = any_option(c);
	uint64_t value[3] = {};
	socklen_t length = number(c, sizeof(value));

	return syscall(SYS_getsockopt, any_fd(c), option[0],
		       number(c, option[1]), given(c, value, sizeof(value)),
		       given(c, &length, sizeof(length)));
}

static size_t any_length(struct chance *c)
{
	static const size_t limits[] = { 10, 100, 1400, 1600, 5000, 20000,
					 100000 };
	size_t limit = limits[below(c, sizeof(limits) / sizeof(limits[0]))];

	return 1 + below(c, one_in(c, 40) ? HOMA_MAX_MESSAGE_LENGTH : limit);
}

/* Some parts of the payload. */
static unsigned int any_parts(struct chance *c, struct iovec *parts)
{
	unsigned int count = 1 + below(c, PARTS), i;
	size_t length = any_length(c);

	for (i = 0; i < count; i++) {
		parts[i].iov_base = c->mood != RIGHT && one_in(c, 6) ?
			bad_pointer(c) : payload;
		parts[i].iov_len = number(c, length / count + !i);
	}
	return count;
}

/* What sendmsg takes, in memory of given(). */
static void *any_message(struct chance *c, const struct address *to,
			 void *args, uint64_t args_length)
{
	struct iovec parts[PARTS];
	unsigned int count = any_parts(c, parts);
	struct msghdr message = {
		.msg_name = given(c, &to->storage, to->length & 127),
		.msg_namelen = to->length,
		.msg_iovlen = number(c, count),
		.msg_iov = given(c, parts, sizeof(parts)),
		.msg_control = args,
		.msg_controllen = number(c, args_length),
	};

	return given(c, &message, sizeof(message));
}

static long send_as(struct chance *c, int fd, const struct address *to,
		    uint64_t id)
{
	struct homa_sendmsg_args args = {
		.id = id,
		.completion_cookie = id ? 0 : any(c),
		.flags = id ? 0 : one_in(c, 3) ? HOMA_SENDMSG_PRIVATE : 0,
	};
	struct homa_sendmsg_args *at = given(c, &args, sizeof(args));
	long result = syscall(SYS_sendmsg, fd,
			      any_message(c, to, at, 0),
			      any_flags(c, one_in(c, 2) ? MSG_DONTWAIT : 0));

	if (!result && !id && is_given(at, sizeof(*at)))
		know(at->id);
	return result;
}

static long call_request(struct chance *c)
{
	struct address to = any_address(c);

	return send_as(c, any_fd(c), &to, 0);
}

static struct known any_known(struct chance *c)
{
	struct known message;
	unsigned int count;

	pthread_mutex_lock(&lock);
	count = messages_known < KNOWN ? messages_known : KNOWN;
	message = messages[below(c, count)];
	pthread_mutex_unlock(&lock);
	return message;
}

/* Mostly by the socket to which the request came. */
static long call_reply(struct chance *c)
{
	struct known message = any_known(c);

	return send_as(c, one_in(c, 8) ? any_fd(c) : message.fd, &message.peer,
		       number(c, message.id | 1));
}

static void know_message(int fd, const struct homa_recvmsg_args *got,
			 const struct sockaddr_storage *from)
{
	struct known *message;

	pthread_mutex_lock(&lock);
	message = &messages[messages_known++ % KNOWN];
	message->fd = fd;
	message->id = got->id;
	message->got = *got;
	message->peer.storage = *from;
	message->peer.length = from->ss_family == AF_INET6 ?
		sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
	pthread_mutex_unlock(&lock);
}

/* Mostly one that has something to be received. */
static int readable_fd(struct chance *c)
{
	struct pollfd polled[SOCKETS];
	unsigned int i, first = below(c, SOCKETS);

	if (one_in(c, 4))
		return any_fd(c);
	for (i = 0; i < SOCKETS; i++) {
		int fd = slots[(first + i) % SOCKETS].fd;

		polled[i] = (struct pollfd){ fd, POLLIN, 0 };
	}
	poll(polled, SOCKETS, 0);
	for (i = 0; i < SOCKETS - 1; i++)
		if (polled[i].revents == POLLIN)
			break;
	return polled[i].fd;
}

/* Gives pages back that some socket gave, and often waits for a moment. */
static long call_receive(struct chance *c)
{
	struct homa_recvmsg_args args = {};
	struct sockaddr_storage name = {}, *from;
	struct homa_recvmsg_args *at;
	struct msghdr message = {};
	int fd = readable_fd(c);
	long result;

	if (one_in(c, 4))
		args = any_known(c).got;
	args.id = one_in(c, 4) ? any_id(c) : 0;
	args.num_bpages = number(c, args.num_bpages);
	args.completion_cookie = any(c);
	at = given(c, &args, sizeof(args));
	from = given(c, &name, sizeof(name));
	message.msg_name = from;
	message.msg_namelen = number(c, sizeof(name));
	message.msg_control = at;
	message.msg_controllen = number(c, sizeof(args));
	result = syscall(SYS_recvmsg, fd, given(c, &message, sizeof(message)),
			 any_flags(c, one_in(c, 3) ? 0 : MSG_DONTWAIT));
	if (result >= 0 && is_given(at, sizeof(*at)) &&
	    is_given(from, sizeof(*from)))
		know_message(fd, at, from);
	return result;
}

static long call_abort(struct chance *c)
{
	struct homa_abort_args args = {
		.id = one_in(c, 8) ? 0 : any_id(c),
		.error = number(c, one_in(c, 2) ? ECANCELED : 0),
	};

	return syscall(SYS_ioctl, any_fd(c), HOMAIOCABORT,
		       given(c, &args, sizeof(args)));
}

static long call_info(struct chance *c)
{
	struct homa_rpc_info rpcs[8] = {};
	struct homa_info info = {
		.rpc_info = (uintptr_t)given(c, rpcs, sizeof(rpcs)),
		.rpc_info_length = number(c, sizeof(rpcs[0]) * below(c, 9)),
	};

	return syscall(SYS_ioctl, any_fd(c), HOMAIOCINFO,
		       given(c, &info, sizeof(info)));
}

static long call_poll(struct chance *c)
{
	struct pollfd polled[3];
	unsigned int i;

	for (i = 0; i < 3; i++)
		polled[i] = (struct pollfd){ any_fd(c), any(c), 0 };
	return poll(polled, 1 + below(c, 3), below(c, 3));
}

static long call_epoll(struct chance *c)
{
	struct epoll_event event = { .events = any(c) & ~EPOLLEXCLUSIVE };

	if (one_in(c, 3))
		return epoll_wait(epoll, &event, 1, below(c, 3));
	return epoll_ctl(epoll, 1 + below(c, 3), any_fd(c), &event);
}

/* Rarely: a socket is of no use afterwards. */
static long call_shutdown(struct chance *c)
{
	return shutdown(any_fd(c), number(c, SHUT_RDWR));
}

static long call_name(struct chance *c)
{
	struct sockaddr_storage name = {};
	socklen_t length = number(c, sizeof(name));
	long call = one_in(c, 4) ? SYS_getpeername : SYS_getsockname;

	return syscall(call, any_fd(c), given(c, &name, sizeof(name)),
		       given(c, &length, sizeof(length)));
}

static long call_ioctl(struct chance *c)
{
	static const uint32_t commands[] = {
		SIOCINQ, SIOCOUTQ, SIOCGIFINDEX, FIOASYNC, SIOCATMARK,
		HOMAIOCFREEZE, HOMAIOCABORT ^ 1, HOMAIOCINFO + (1 << 16),
	};
	uint64_t word[8] = { any(c) };

	return syscall(SYS_ioctl, any_fd(c),
		       c->mood == WILD ? any(c) : commands[below(c, 8)],
		       given(c, word, sizeof(word)));
}

/* What other sockets can. */
static long call_odd(struct chance *c)
{
	struct address a = any_address(c);
	int fd = any_fd(c);
	char byte = 1;

	switch (below(c, 9)) {
	case 0:
		return listen(fd, any(c));
	case 1:
		return accept(fd, NULL, NULL);
	case 2:
		return connect(fd, (struct sockaddr *)&a.storage, a.length);
	case 3:
		return write(fd, payload, any_length(c));
	case 4:
		return read(fd, &byte, 1);
	case 5:
		return sendto(fd, &byte, 1, MSG_DONTWAIT,
			      (struct sockaddr *)&a.storage, a.length);
	case 6:
		return recv(fd, &byte, 1, MSG_DONTWAIT);
	case 7:
		return fcntl(fd, F_SETFL, one_in(c, 2) ? O_NONBLOCK : O_ASYNC);
	default:
		return slot_replace(any_slot(c), dup(fd));
	}
}

/* Two messages by one call, out or in. */
static long call_many(struct chance *c)
{
	struct address to = any_address(c);
	struct homa_sendmsg_args request = {};
	struct homa_recvmsg_args receive = {};
	bool out = one_in(c, 2);
	struct mmsghdr two[2] = {};
	unsigned int i;

	for (i = 0; i < 2; i++) {
		void *args = out ? given(c, &request, sizeof(request)) :
				   given(c, &receive, sizeof(receive));
		struct msghdr *message =
			any_message(c, &to, args, out ? 0 : sizeof(receive));

		if (is_given(message, sizeof(*message)))
			two[i].msg_hdr = *message;
	}
	return syscall(out ? SYS_sendmmsg : SYS_recvmmsg, any_fd(c),
		       given(c, two, sizeof(two)), number(c, 2),
		       any_flags(c, MSG_DONTWAIT), NULL);
}

/* The receive region and the arguments change under the others' calls. */
static long call_memory(struct chance *c)
{
	uint8_t *region = any_slot(c)->region;
	size_t from = below(c, REGION_OF_CHANCE / 4096) * 4096UL;
	size_t length = REGION_OF_CHANCE - from;

	given_spoil(c);
	switch (below(c, 8)) {
	case 0:
		return mprotect(region + from, length, PROT_READ);
	case 1:
		return madvise(region + from, length, MADV_DONTNEED);
	case 2:
		return munmap(region + from, length);
	default:
		return mmap(region, REGION_OF_CHANCE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
			    0) == MAP_FAILED ? -1 : 0;
	}
}

static void put(uint8_t *packet, uint64_t value, int bytes)
{
	while (bytes--) {
		packet[bytes] = value;
		value >>= 8;
	}
}

/* A packet by hand: of a known RPC, and with the fields of its type by chance. */
static long call_packet(struct chance *c)
{
	struct address to = any_address(c);
	uint8_t packet[300];
	size_t i;

	for (i = 0; i < sizeof(packet); i++)
		packet[i] = one_in(c, 3) ? any(c) : 0;
	put(packet, FIRST_PORT + below(c, PORTS), 2);
	put(packet + 2, FIRST_PORT + below(c, PORTS), 2);
	put(packet + 4, below(c, 4) * 1400, 4);
	put(packet + 11, number(c, 0x10 + below(c, 9)), 1);
	put(packet + 20, any_id(c) ^ one_in(c, 2), 8);
	put(packet + 28, number(c, any_length(c)), 4);
	put(packet + 52, below(c, 4) * 1400, 4);
	if (to.storage.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&to.storage)->sin6_port = 0;
	return sendto(to.storage.ss_family == AF_INET6 ? raw_v6 : raw_v4,
		      packet, 1 + below(c, sizeof(packet)), MSG_DONTWAIT,
		      (struct sockaddr *)&to.storage, to.length);
}

/* Settings and lists. */
static long call_file(struct chance *c)
{
	static const char *const files[] = {
		"/proc/net/homa", "/proc/net/homa_metrics",
		"/proc/sys/net/homa/unsched_bytes",
		"/proc/sys/net/homa/window", "/proc/sys/net/homa/link_mbps",
		"/proc/sys/net/homa/num_priorities",
		"/proc/sys/net/homa/max_incoming",
		"/proc/sys/net/homa/resend_ticks",
	};
	uint32_t which = below(c, sizeof(files) / sizeof(files[0]));
	bool writes = which >= 2 && one_in(c, 4);
	int fd = open(files[which], writes ? O_RDWR : O_RDONLY);
	char text[64];
	long result;

	if (fd < 0)
		return -1;
	snprintf(text, sizeof(text), "%lld", (long long)number(c, any(c)));
	if (writes)
		result = write(fd, text, strlen(text));
	else
		result = syscall(SYS_pread64, fd,
				 given(c, text, sizeof(text)), sizeof(text),
				 number(c, below(c, 4000)));
	close(fd);
	return result;
}

const struct fuzz_kind fuzz_kinds[FUZZ_KINDS] = {
	{ "socket", 8, call_socket },
	{ "close", 2, call_close },
	{ "bind", 8, call_bind },
	{ "setsockopt", 8, call_setsockopt },
	{ "getsockopt", 4, call_getsockopt },
	{ "sendmsg, request", 30, call_request },
	{ "sendmsg, reply", 20, call_reply },
	{ "recvmsg", 40, call_receive },
	{ "ioctl, abort", 6, call_abort },
	{ "ioctl, info", 4, call_info },
	{ "ioctl, others", 2, call_ioctl },
	{ "poll", 4, call_poll },
	{ "epoll", 4, call_epoll },
	{ "shutdown", 1, call_shutdown },
	{ "getsockname", 2, call_name },
	{ "calls for other sockets", 4, call_odd },
	{ "sendmmsg and recvmmsg", 8, call_many },
	{ "memory that goes", 6, call_memory },
	{ "packets by hand", 15, call_packet },
	{ "files", 4, call_file },
};

void fuzz_calls_begin(void)
{
	struct chance c = { .state = 1, .mood = RIGHT };
	unsigned int i;

	given_make();
	payload = mmap(NULL, HOMA_MAX_MESSAGE_LENGTH + 4096, PROT_READ |
		       PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(payload != MAP_FAILED);
	raw_v4 = socket(AF_INET, SOCK_RAW, IPPROTO_HOMA);
	raw_v6 = socket(AF_INET6, SOCK_RAW, IPPROTO_HOMA);
	epoll = epoll_create1(0);
	CHECK(raw_v4 >= 0 && raw_v6 >= 0 && epoll >= 0);
	for (i = 0; i < SOCKETS; i++) {
		slots[i].fd = -1;
		slots[i].region = mmap(NULL, REGION_OF_CHANCE, PROT_READ |
				       PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				       -1, 0);
		CHECK(slots[i].region != MAP_FAILED);
	}
	for (i = 0; i < 2 * SOCKETS; i++) {
		call_socket(&c);
		call_bind(&c);
	}
}
