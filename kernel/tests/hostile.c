// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Packets that no Homa sends, made by hand on a raw socket. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define DATA_HEADER 56
#define FIRST_TYPE 0x10
#define TYPES 9

/* Where the fields of a header begin. */
#define SOURCE_PORT 0
#define DEST_PORT 2
#define SEQUENCE 4
#define TYPE 11
#define SENDER_ID 20
#define MESSAGE_LENGTH 28
#define INCOMING 32
#define SEGMENT 52

static void put(uint8_t *packet, size_t at, uint64_t value, int bytes)
{
	while (bytes--) {
		packet[at + bytes] = value;
		value >>= 8;
	}
}

static void common(uint8_t *packet, uint16_t dest_port, uint8_t type,
		   uint64_t id)
{
	put(packet, SOURCE_PORT, 40000, 2);
	put(packet, DEST_PORT, dest_port, 2);
	put(packet, TYPE, type, 1);
	put(packet, SENDER_ID, id, 8);
}

static int raw_socket(void)
{
	struct address to = address_of(FAR_V4, 0);
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_HOMA);

	CHECK(fd >= 0);
	CHECK(!connect(fd, (struct sockaddr *)&to.storage, to.length));
	return fd;
}

/* A counter of the far namespace. */
static unsigned long long far_counter(const char *wanted)
{
	unsigned long long value;
	char name[64], line[256];
	FILE *file;

	net_far();
	file = fopen("/proc/net/homa_metrics", "r");
	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %llu", name, &value) == 2 &&
		    !strcmp(name, wanted)) {
			fclose(file);
			net_near();
			return value;
		}
	}
	FAIL("no counter %s", wanted);
}

static void still_serves(int port)
{
	struct address to = address_of(FAR_V4, port);
	struct homa_socket s;

	socket_open(&s, AF_INET, 0);
	echo_once(&s, &to, 100000, port);
	socket_close(&s);
}

/* Of a message that comes byte by byte. */
#define MESSAGE_BYTES 5000

/* Each packet costs its receiver hundreds of times the byte that it brings. */
static void segments_of_a_byte_do_not_fill_the_memory(void)
{
	uint8_t packet[DATA_HEADER + 1] = {};
	unsigned long long before, after;
	int fd = raw_socket(), tries = 0;
	uint32_t offset;

	start_far_echo(AF_INET, 500);
	before = far_counter("packets_not_kept");
	common(packet, 500, FIRST_TYPE, 0x5000);
	put(packet, MESSAGE_LENGTH, MESSAGE_BYTES, 4);
	put(packet, INCOMING, MESSAGE_BYTES, 4);
	for (offset = 0; offset < MESSAGE_BYTES; offset++) {
		put(packet, SEQUENCE, offset, 4);
		put(packet, SEGMENT, offset, 4);
		send(fd, packet, sizeof(packet), 0);
	}
	/*
	 * The last of them may still be on their way. Where the machine is so
	 * slow that the message is given up meanwhile, others begin in its
	 * place; without a limit none of them refuses a single packet.
	 */
	while ((after = far_counter("packets_not_kept")) < before + 500 &&
	       tries++ < 40)
		usleep(50000);
	if (after < before + 500)
		FAIL("%llu packets were not kept", after - before);
	still_serves(500);
}

static void packets_of_chance_do_no_harm(void)
{
	int fd = raw_socket(), i;
	uint8_t packet[200];

	srandom(7);
	start_far_echo(AF_INET, 501);
	for (i = 0; i < 20000; i++) {
		size_t length = random() % sizeof(packet), j;

		for (j = 0; j < sizeof(packet); j++)
			packet[j] = random() % 3 ? 0 : random();
		/* Most get past the first look. */
		if (i % 8)
			common(packet, 501, FIRST_TYPE + random() % TYPES,
			       random() % 64);
		send(fd, packet, length, 0);
	}
	still_serves(501);
}

static void every_length_of_every_type_is_read_within_bounds(void)
{
	uint8_t packet[128] = {};
	int fd = raw_socket();
	unsigned int type, length;

	start_far_echo(AF_INET, 502);
	memset(packet, 0xff, sizeof(packet));
	for (type = FIRST_TYPE - 1; type <= FIRST_TYPE + TYPES; type++) {
		for (length = 0; length <= sizeof(packet); length++) {
			common(packet, 502, type, 0x6000 + (length & 1));
			send(fd, packet, length, 0);
		}
	}
	still_serves(502);
}

const struct test hostile_tests[] = {
#define TEST(name) { #name, name }
	TEST(segments_of_a_byte_do_not_fill_the_memory),
	TEST(packets_of_chance_do_no_harm),
	TEST(every_length_of_every_type_is_read_within_bounds),
	{},
};
