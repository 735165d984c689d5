// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Round trips of short messages beside those of UDP, over the same cable. The
 * machine is emulated, so only the ratio of the two means anything, and that not
 * to the last tenth.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define MESSAGE_BYTES 100
#define BLOCKS 20
#define BLOCK_TRIPS 20
#define PORT 600

static uint8_t message[MESSAGE_BYTES];

static double now_us(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return (difference > 0) - (difference < 0);
}

static double median(double *values, size_t count)
{
	qsort(values, count, sizeof(*values), ascending);
	return values[count / 2];
}

static void start_far_udp(void)
{
	struct address at = address_of(FAR_V4, PORT), from;
	uint8_t bytes[MESSAGE_BYTES];
	int fd;

	net_far();
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	net_near();
	CHECK(!bind(fd, (struct sockaddr *)&at.storage, at.length));
	if (!fork()) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;) {
			from.length = sizeof(from.storage);
			recvfrom(fd, bytes, sizeof(bytes), 0,
				 (struct sockaddr *)&from.storage,
				 &from.length);
			sendto(fd, bytes, sizeof(bytes), 0,
			       (struct sockaddr *)&from.storage, from.length);
		}
	}
	close(fd);
}

static void homa_trip(struct homa_socket *s, const struct address *to)
{
	CHECK(!send_request(s, to, message, MESSAGE_BYTES, 0, 0, NULL));
	CHECK(receive(s, 0, 0) == MESSAGE_BYTES);
}

static void udp_trip(int fd)
{
	CHECK(send(fd, message, MESSAGE_BYTES, 0) == MESSAGE_BYTES);
	CHECK(recv(fd, message, MESSAGE_BYTES, 0) == MESSAGE_BYTES);
}

/* Blocks of one and the other in turn; the medians of the blocks. */
static void round_trips_are_timed(void)
{
	struct address to = address_of(FAR_V4, PORT);
	double homa[BLOCKS], udp[BLOCKS];
	struct homa_socket s;
	int fd, i, j;

	start_far_echo(AF_INET, PORT);
	start_far_udp();
	socket_open(&s, AF_INET, 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	CHECK(!connect(fd, (struct sockaddr *)&to.storage, to.length));
	for (i = 0; i < BLOCKS; i++) {
		homa[i] = -now_us();
		for (j = 0; j < BLOCK_TRIPS; j++)
			homa_trip(&s, &to);
		homa[i] += now_us();
		udp[i] = -now_us();
		for (j = 0; j < BLOCK_TRIPS; j++)
			udp_trip(fd);
		udp[i] += now_us();
	}
	printf("figure round trip of %d bytes: Homa %.0f us, UDP %.0f us\n",
	       MESSAGE_BYTES, median(homa, BLOCKS) / BLOCK_TRIPS,
	       median(udp, BLOCKS) / BLOCK_TRIPS);
}

const struct test bench_tests[] = {
#define TEST(name) { #name, name }
	TEST(round_trips_are_timed),
	{},
};
