/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What the guest's tests share. A test is a function that returns if all is
 * well and calls fail() if not; each runs in a process of its own.
 */
#ifndef GUEST_H
#define GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "homa.h"

struct test {
	const char *name;
	void (*run)(void);
};

/* Ends the test as failed, and says why. */
void fail(const char *file, int line, const char *format, ...)
	__attribute__((noreturn, format(printf, 3, 4)));

#define FAIL(...) fail(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition) \
	do { \
		if (!(condition)) \
			FAIL("%s (errno %d)", #condition, errno); \
	} while (0)
/* That a call fails, and how. */
#define CHECK_ERRNO(call, error) \
	do { \
		long result_ = (call); \
		if (result_ != -1 || errno != (error)) \
			FAIL("%s: %ld, errno %d instead of %d", #call, \
			     result_, errno, error); \
	} while (0)

/* Prints how a test ended. */
void report(const char *name, bool good, const char *why);
/* How many times longer than usual this kernel may take. */
unsigned int patience(void);
/* Says so if it cannot. */
void write_file(const char *name, const char *text);

/* log.c: complaints of the kernel since the beginning, and leaks. */
void log_begin(void);
bool log_is_clean(unsigned int panics_asked_for);
bool leaks_are_watched(void);
bool nothing_leaked(void);

/* net.c: two namespaces, "near" and "far", joined by a virtual cable. */
void net_make(void);
void net_join(int keeper);
bool net_is_made(void);
int net_far_keeper(void);
void net_near(void);
void net_far(void);
void net_far_end(void);
void net_loss(unsigned int percent);
void net_gso_max(unsigned int bytes);
void net_gro(bool on);
/* As they were before any of these. */
void net_restore(void);
void net_beyond_make(void);
void net_beyond(void);
void link_up(const char *link);
/* The namespace in which the machine has a cable to another one. */
void net_neighbour_make(void);
void net_neighbour(void);

#define NEAR_V4 "10.99.0.1"
#define FAR_V4 "10.99.0.2"
#define BEYOND_V4 "10.97.0.2"
#define NEIGHBOUR_V4 "10.96.0.1"
#define NEAR_V6 "fd99::1"
#define FAR_V6 "fd99::2"
#define NEIGHBOUR_V6 "fd96::1"

/* load.c: the module comes and goes. */
int load(const char *file);
bool unload(const char *name);
/* As modprobe would; an exit status. */
int load_by_alias(const char *alias);

/*
 * soak.c: kilobytes that are neither free nor of the file cache; and mixed
 * traffic with losses, for so many minutes.
 */
unsigned long memory_used(void);
void soak(unsigned int minutes);

/* charge.c: of so many allocations of the module one fails; "0": none. */
void refuse_one_of(const char *many);

/* fuzz.c: calls of chance from many threads, for so many seconds. */
void fuzz(unsigned int seconds, unsigned int seed);

/* rpc.c: sockets with a receive region, and messages. */
struct homa_socket {
	int fd;
	int family;
	uint8_t *region;
	struct homa_recvmsg_args got;
	struct sockaddr_storage from;
	socklen_t from_length;
};

#define REGION_BYTES (64 * HOMA_BPAGE_SIZE)

struct address {
	struct sockaddr_storage storage;
	socklen_t length;
};

/* Whether sockets that are opened from now on speak Homa in UDP. */
extern bool sockets_use_udp;

struct address address_of(const char *text, int port);
void socket_open(struct homa_socket *s, int family, int port);
void socket_close(struct homa_socket *s);
int send_request(struct homa_socket *s, const struct address *to,
		 const void *bytes, size_t length, uint64_t cookie,
		 uint32_t flags, uint64_t *id);
int send_reply(struct homa_socket *s, const struct address *to, uint64_t id,
	       const void *bytes, size_t length);
/* Gives the pages of the message before back. */
long receive(struct homa_socket *s, uint64_t id, int flags);
/* Copies the message that was received. */
void received_bytes(const struct homa_socket *s, void *to, size_t length);
void pattern_fill(uint8_t *to, size_t length, unsigned int seed);
/* Serves until the socket is shut down or the process killed; never returns. */
void serve_echo(struct homa_socket *s) __attribute__((noreturn));
/* A process that echoes where @enter leads to; killed with its test. */
int start_echo(void (*enter)(void), int family, int port);
int start_far_echo(int family, int port);
void echo_once(struct homa_socket *s, const struct address *to, size_t length,
	       unsigned int seed);

/* lengths.c: lengths of messages, and messages of each of them to a server. */
#define LENGTHS 14
extern const size_t lengths[LENGTHS];
void echo_lengths(int family, const char *far, int port);
/* A line of /proc/net/homa_metrics, of this namespace. */
unsigned long metric(const char *name);
/* The packets in which a response of half a megabyte comes, */
unsigned long packets_of_a_long_response(int family, const char *far, int port);
/* which are so many of full length, */
#define PACKETS_V4 352
#define PACKETS_V6 357
/* and tests of how they travel; @port: where a server is started. */
void long_messages_travel_as_one(int port);
void long_messages_are_cut(int port);
void cut_messages_are_joined(int port);

extern const struct test traffic_tests[];
extern const struct test udp_tests[];
extern const struct test call_tests[];
extern const struct test surface_tests[];
extern const struct test exposure_tests[];
extern const struct test way_tests[];
extern const struct test load_tests[];
extern const struct test corpus_tests[];
extern const struct test charge_tests[];
extern const struct test setting_tests[];
extern const struct test listing_tests[];
extern const struct test hostile_tests[];
extern const struct test race_tests[];
extern const struct test bench_tests[];
extern const struct test neighbour_tests[];

#endif /* GUEST_H */
