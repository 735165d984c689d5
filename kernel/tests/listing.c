// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * /proc/net/homa: the sockets of the namespace, to each owner theirs; and what
 * /proc/net/homa_metrics says of tables that grow.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define PORT 1200
#define NOBODY 65534
#define MANY 3000

/* What the list says of the socket at @port. */
struct entry {
	char link[8], net[8], kind[8];
	unsigned int uid, rpcs, receiving, sending;
	unsigned long long region, inode;
};

static bool entry_of(unsigned int port, struct entry *entry)
{
	FILE *file = fopen("/proc/net/homa", "r");
	unsigned int found;
	char line[256];

	CHECK(file);
	/* What the columns are. */
	CHECK(fgets(line, sizeof(line), file));
	while (fgets(line, sizeof(line), file)) {
		CHECK(sscanf(line, "%u %7s %7s %7s %u %u %u %u %llu %llu",
			     &found, entry->link, entry->net, entry->kind,
			     &entry->uid, &entry->rpcs, &entry->receiving,
			     &entry->sending, &entry->region,
			     &entry->inode) == 10);
		if (found == port) {
			fclose(file);
			return true;
		}
	}
	fclose(file);
	return false;
}

static void the_list_says_what_a_socket_is_and_holds(void)
{
	struct address to = address_of(NEAR_V4, PORT);
	uint8_t bytes[1000] = {};
	struct homa_socket s;
	struct entry entry;

	socket_open(&s, AF_INET, PORT);
	CHECK(entry_of(PORT, &entry));
	CHECK(!strcmp(entry.link, "ip") && !strcmp(entry.net, "v4"));
	CHECK(!strcmp(entry.kind, "server") && !entry.uid && entry.inode);
	CHECK(!entry.rpcs && !entry.receiving && !entry.sending);
	CHECK(entry.region == REGION_BYTES);
	CHECK(!send_request(&s, &to, bytes, sizeof(bytes), 0, 0, NULL));
	/* It is client and server of the RPC; a softirq may take a while. */
	do
		CHECK(entry_of(PORT, &entry));
	while (entry.rpcs != 2);
	CHECK(entry.receiving == sizeof(bytes));
	CHECK(entry.sending >= sizeof(bytes));
	socket_close(&s);
	CHECK(!entry_of(PORT, &entry));
}

/* A process without rights; its exit status. */
static int look_as_nobody(void)
{
	struct homa_socket own;
	struct entry entry;

	if (setgid(NOBODY) || setuid(NOBODY))
		return 1;
	if (entry_of(PORT, &entry))
		return 2;
	socket_open(&own, AF_INET, PORT + 1);
	if (!entry_of(PORT + 1, &entry) || entry.uid != NOBODY)
		return 3;
	return 0;
}

static void others_see_their_own_sockets_only(void)
{
	struct homa_socket s;
	int status = 0;
	pid_t child;

	socket_open(&s, AF_INET, PORT);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		_exit(look_as_nobody());
	CHECK(waitpid(child, &status, 0) == child);
	if (status)
		FAIL("status %d", WEXITSTATUS(status));
	socket_close(&s);
}

/*
 * Far more RPCs than there is room for at first: all arrive nevertheless. A slow
 * kernel does nothing but be asked how they are.
 */
static void tables_grow_ahead_of_need(void)
{
	struct address to = address_of(NEAR_V4, PORT);
	unsigned long before = metric("table_refills");
	struct homa_socket s, client;
	uint8_t bytes[100] = {};
	unsigned int i, many = MANY / patience();

	socket_open(&s, AF_INET, PORT);
	socket_open(&client, AF_INET, 0);
	for (i = 0; i < many; i++)
		CHECK(!send_request(&client, &to, bytes, sizeof(bytes), 0, 0,
				    NULL));
	for (i = 0; i < many; i++)
		CHECK(receive(&s, 0, 0) == sizeof(bytes));
	CHECK(metric("table_refills") > before);
	socket_close(&client);
	socket_close(&s);
}

const struct test listing_tests[] = {
#define TEST(name) { #name, name }
	TEST(the_list_says_what_a_socket_is_and_holds),
	TEST(others_see_their_own_sockets_only),
	TEST(tables_grow_ahead_of_need),
	{},
};
