// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The fuzzer's packets, which lie in /corpus, on raw sockets. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

#define CORPUS "/corpus"
#define PACKET_MAX 4096
#define DEST_PORT 2

struct corpus_packet {
	uint8_t bytes[PACKET_MAX];
	size_t length;
};

static bool packet_read(const char *name, struct corpus_packet *packet)
{
	char path[300];
	ssize_t length;
	int fd;

	if (name[0] == '.')
		return false;
	snprintf(path, sizeof(path), CORPUS "/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	CHECK(fd >= 0);
	length = read(fd, packet->bytes, PACKET_MAX);
	CHECK(length >= 0);
	packet->length = length;
	close(fd);
	return true;
}

/* As it is, to the server's port, cut at every length, each byte inverted. */
static void packet_send(int fd, int port, const struct corpus_packet *original)
{
	struct corpus_packet packet = *original;
	size_t at;

	send(fd, packet.bytes, packet.length, 0);
	if (packet.length < DEST_PORT + 2)
		return;
	packet.bytes[DEST_PORT] = port >> 8;
	packet.bytes[DEST_PORT + 1] = port & 0xff;
	for (at = 0; at <= packet.length; at++)
		send(fd, packet.bytes, at, 0);
	for (at = DEST_PORT + 2; at < packet.length && at < 128; at++) {
		packet.bytes[at] ^= 0xff;
		send(fd, packet.bytes, packet.length, 0);
		packet.bytes[at] ^= 0xff;
	}
}

static unsigned int corpus_send(int fd, int port)
{
	struct corpus_packet packet;
	struct dirent *entry;
	unsigned int count = 0;
	DIR *corpus = opendir(CORPUS);

	CHECK(corpus);
	while ((entry = readdir(corpus))) {
		if (!packet_read(entry->d_name, &packet))
			continue;
		packet_send(fd, port, &packet);
		count++;
	}
	closedir(corpus);
	return count;
}

/* What the kernel has said since it started. */
static unsigned int log_lines(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	unsigned int lines = 0;
	char line[4096];

	CHECK(fd >= 0);
	while (read(fd, line, sizeof(line)) > 0 || errno == EPIPE)
		lines++;
	close(fd);
	return lines;
}

static void replay(int family, const char *host, int port)
{
	struct address to = address_of(host, 0);
	unsigned int lines = log_lines();
	struct homa_socket s;
	int fd;

	start_far_echo(family, port);
	fd = socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_HOMA);
	CHECK(fd >= 0);
	CHECK(!connect(fd, (struct sockaddr *)&to.storage, to.length));
	if (corpus_send(fd, port) < 30)
		FAIL("there are hardly any packets in " CORPUS);
	socket_open(&s, family, 0);
	to = address_of(host, port);
	echo_once(&s, &to, 100000, 1);
	CHECK(log_lines() == lines);
}

static void the_fuzzers_packets_do_no_harm_over_ipv4(void)
{
	replay(AF_INET, FAR_V4, 620);
}

static void the_fuzzers_packets_do_no_harm_over_ipv6(void)
{
	replay(AF_INET6, FAR_V6, 621);
}

const struct test corpus_tests[] = {
#define TEST(name) { #name, name }
	TEST(the_fuzzers_packets_do_no_harm_over_ipv4),
	TEST(the_fuzzers_packets_do_no_harm_over_ipv6),
	{},
};
