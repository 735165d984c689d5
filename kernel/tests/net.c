// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The guest's network, laid by netlink: the first namespace ("near") and one
 * that a process keeps ("far"), joined by a virtual cable with lossy queues.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define NEAR_LINK "near0"
#define FAR_LINK "far0"

/* From the far namespace to the one beyond. */
#define FORWARD_LINK "far1"
#define FORWARD_V4 "10.97.0.1"
#define BEYOND_LINK "beyond0"

/* To the machine that runs this one. */
#define NEIGHBOUR_LINK "eth0"
#define OWN_V4 "10.96.0.2"
#define OWN_V6 "fd96::2"

static int near_ns = -1, far_ns = -1, beyond_ns = -1, neighbour_ns = -1;
static pid_t far_keeper;

/* A netlink request under construction. */
struct request {
	struct nlmsghdr header;
	char body[1024];
};

static void request_begin(struct request *r, int type, int flags,
			  const void *head, size_t length)
{
	memset(r, 0, sizeof(*r));
	r->header.nlmsg_len = NLMSG_LENGTH(length);
	r->header.nlmsg_type = type;
	r->header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	memcpy(NLMSG_DATA(&r->header), head, length);
}

static struct rtattr *request_end_of(struct request *r)
{
	return (struct rtattr *)((char *)r + NLMSG_ALIGN(r->header.nlmsg_len));
}

static struct rtattr *request_add(struct request *r, int type,
				  const void *value, size_t length)
{
	struct rtattr *attribute = request_end_of(r);

	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(length);
	if (length)
		memcpy(RTA_DATA(attribute), value, length);
	r->header.nlmsg_len = NLMSG_ALIGN(r->header.nlmsg_len) +
			      RTA_ALIGN(attribute->rta_len);
	return attribute;
}

/* Whatever was added since @attribute lies in it. */
static void request_close(struct request *r, struct rtattr *attribute)
{
	attribute->rta_len = (char *)request_end_of(r) - (char *)attribute;
}

static void request_send(struct request *r)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
		char rest[1024];
	} answer;

	if (fd < 0 || send(fd, r, r->header.nlmsg_len, 0) < 0 ||
	    recv(fd, &answer, sizeof(answer), 0) < 0)
		FAIL("netlink does not answer");
	if (answer.header.nlmsg_type == NLMSG_ERROR && answer.error.error)
		FAIL("netlink request %d: %s", r->header.nlmsg_type,
		     strerror(-answer.error.error));
	close(fd);
}

/* From here to the namespace @ns. */
static void cable_lay(const char *link, const char *other, int ns)
{
	struct ifinfomsg none = {};
	struct rtattr *info, *data, *peer;
	struct request r;

	request_begin(&r, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &none,
		      sizeof(none));
	request_add(&r, IFLA_IFNAME, link, strlen(link) + 1);
	info = request_add(&r, IFLA_LINKINFO, NULL, 0);
	request_add(&r, IFLA_INFO_KIND, "veth", 4);
	data = request_add(&r, IFLA_INFO_DATA, NULL, 0);
	peer = request_add(&r, VETH_INFO_PEER, &none, sizeof(none));
	request_add(&r, IFLA_IFNAME, other, strlen(other) + 1);
	request_add(&r, IFLA_NET_NS_FD, &ns, sizeof(ns));
	request_close(&r, peer);
	request_close(&r, data);
	request_close(&r, info);
	request_send(&r);
}

static void address_add(const char *link, const char *text)
{
	struct ifaddrmsg head = {
		.ifa_family = strchr(text, ':') ? AF_INET6 : AF_INET,
		.ifa_prefixlen = strchr(text, ':') ? 64 : 24,
		.ifa_flags = IFA_F_NODAD,
		.ifa_index = if_nametoindex(link),
	};
	struct request r;
	uint8_t address[16];

	inet_pton(head.ifa_family, text, address);
	request_begin(&r, RTM_NEWADDR, NLM_F_CREATE, &head, sizeof(head));
	request_add(&r, IFA_LOCAL, address,
		    head.ifa_family == AF_INET ? 4 : 16);
	request_send(&r);
}

void link_up(const char *link)
{
	struct ifinfomsg head = {
		.ifi_index = if_nametoindex(link),
		.ifi_flags = IFF_UP,
		.ifi_change = IFF_UP,
	};
	struct request r;

	request_begin(&r, RTM_NEWLINK, 0, &head, sizeof(head));
	request_send(&r);
}

/* Drops packets that leave by @link: so many in a hundred. */
static void queue_set(const char *link, unsigned int percent)
{
	struct tcmsg head = {
		.tcm_ifindex = if_nametoindex(link),
		.tcm_parent = TC_H_ROOT,
		.tcm_handle = TC_H_MAKE(1 << 16, 0),
	};
	struct tc_netem_qopt options = {
		.limit = 10000,
		.loss = (uint32_t)((uint64_t)UINT32_MAX * percent / 100),
	};
	struct request r;

	request_begin(&r, RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &head,
		      sizeof(head));
	request_add(&r, TCA_KIND, "netem", sizeof("netem"));
	request_add(&r, TCA_OPTIONS, &options, sizeof(options));
	request_send(&r);
}

static int ns_open(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		FAIL("%s: %s", path, strerror(errno));
	return fd;
}

static pid_t ns_make(void)
{
	int ready[2];
	char byte = 0;
	pid_t child;

	if (pipe(ready))
		FAIL("no pipe");
	child = fork();
	if (child == 0) {
		if (unshare(CLONE_NEWNET) || write(ready[1], &byte, 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	if (read(ready[0], &byte, 1) != 1)
		FAIL("no namespace");
	close(ready[0]);
	close(ready[1]);
	return child;
}

bool net_is_made(void)
{
	return near_ns >= 0;
}

void net_near(void)
{
	setns(near_ns, CLONE_NEWNET);
}

void net_far(void)
{
	if (setns(far_ns, CLONE_NEWNET))
		FAIL("no way to the far namespace");
}

/* IPv6 works only once the link has settled, a second after it is up. */
static void await_ipv6(void)
{
	struct timeval patience = { .tv_usec = 50000 };
	struct address to = address_of(FAR_V6, 9);
	struct sockaddr *name = (struct sockaddr *)&to.storage;
	int far, near, tries = 0;
	char byte = 0;

	net_far();
	far = socket(AF_INET6, SOCK_DGRAM, 0);
	if (bind(far, name, to.length))
		FAIL("%s: %s", FAR_V6, strerror(errno));
	setsockopt(far, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	net_near();
	near = socket(AF_INET6, SOCK_DGRAM, 0);
	do {
		if (++tries == 200)
			FAIL("IPv6 never came up");
		sendto(near, &byte, 1, 0, name, to.length);
	} while (recv(far, &byte, 1, 0) != 1);
	close(near);
	close(far);
}

/* The network that another program made, whose far end this process keeps. */
void net_join(int keeper)
{
	char path[64];

	far_keeper = keeper;
	near_ns = ns_open("/proc/self/ns/net");
	snprintf(path, sizeof(path), "/proc/%d/ns/net", keeper);
	far_ns = ns_open(path);
}

int net_far_keeper(void)
{
	return far_keeper;
}

static void give_time(const char *setting, unsigned int ticks)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", ticks * patience());
	write_file(setting, text);
}

/* A kernel that checks what it does is silent for longer than a dead one. */
static void peers_give_time(void)
{
	if (patience() == 1)
		return;
	give_time("/proc/sys/net/homa/timeout_ticks", 100);
	give_time("/proc/sys/net/homa/resend_ticks", 5);
}

void net_make(void)
{
	net_join(ns_make());
	cable_lay(NEAR_LINK, FAR_LINK, far_ns);
	peers_give_time();
	link_up("lo");
	address_add(NEAR_LINK, NEAR_V4);
	address_add(NEAR_LINK, NEAR_V6);
	link_up(NEAR_LINK);
	net_far();
	peers_give_time();
	link_up("lo");
	address_add(FAR_LINK, FAR_V4);
	address_add(FAR_LINK, FAR_V6);
	link_up(FAR_LINK);
	net_near();
	await_ipv6();
	net_loss(0);
}

/* The far namespace goes, whatever lives in it. */
void net_far_end(void)
{
	kill(far_keeper, SIGKILL);
	waitpid(far_keeper, NULL, 0);
	close(far_ns);
}

/* Both ways. */
void net_loss(unsigned int percent)
{
	queue_set(NEAR_LINK, percent);
	net_far();
	queue_set(FAR_LINK, percent);
	net_near();
}

static void gso_max_set(const char *link, uint32_t bytes)
{
	struct ifinfomsg head = { .ifi_index = if_nametoindex(link) };
	struct request r;

	request_begin(&r, RTM_NEWLINK, 0, &head, sizeof(head));
	request_add(&r, IFLA_GSO_MAX_SIZE, &bytes, sizeof(bytes));
	request_send(&r);
}

/* The longest packet that both devices take; longer ones are cut before. */
void net_gso_max(unsigned int bytes)
{
	gso_max_set(NEAR_LINK, bytes);
	net_far();
	gso_max_set(FAR_LINK, bytes);
	net_near();
}

static void device_set(const char *link, uint32_t what, bool on)
{
	struct ethtool_value value = { .cmd = what, .data = on };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {};

	strncpy(request.ifr_name, link, IFNAMSIZ - 1);
	request.ifr_data = (char *)&value;
	if (fd < 0 || ioctl(fd, SIOCETHTOOL, &request))
		FAIL("%s: ethtool %u: %s", link, what, strerror(errno));
	close(fd);
}

static void gro_set(const char *link, bool on)
{
	/* This device polls only for peers that cut what they send. */
	device_set(link, ETHTOOL_STSO, !on);
	device_set(link, ETHTOOL_SGRO, on);
}

/* Both devices take packets by polling, and join what arrives cut, or not. */
void net_gro(bool on)
{
	gro_set(NEAR_LINK, on);
	net_far();
	gro_set(FAR_LINK, on);
	net_near();
	net_gso_max(on ? 3000 : 65536);
}

void net_restore(void)
{
	net_loss(0);
	net_gro(false);
}

/* The 24 bits of @to are reached through @gate. */
static void route_add(const char *to, const char *gate)
{
	struct rtmsg head = {
		.rtm_family = AF_INET,
		.rtm_dst_len = 24,
		.rtm_table = RT_TABLE_MAIN,
		.rtm_protocol = RTPROT_STATIC,
		.rtm_scope = RT_SCOPE_UNIVERSE,
		.rtm_type = RTN_UNICAST,
	};
	struct request r;
	uint8_t address[4];

	request_begin(&r, RTM_NEWROUTE, NLM_F_CREATE, &head, sizeof(head));
	inet_pton(AF_INET, to, address);
	address[3] = 0;
	request_add(&r, RTA_DST, address, sizeof(address));
	inet_pton(AF_INET, gate, address);
	request_add(&r, RTA_GATEWAY, address, sizeof(address));
	request_send(&r);
}

void net_beyond(void)
{
	if (setns(beyond_ns, CLONE_NEWNET))
		FAIL("no way to the namespace beyond");
}

/* A namespace that the far one forwards to, in short packets; it ends with us. */
void net_beyond_make(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", ns_make());
	beyond_ns = ns_open(path);
	net_far();
	cable_lay(FORWARD_LINK, BEYOND_LINK, beyond_ns);
	address_add(FORWARD_LINK, FORWARD_V4);
	link_up(FORWARD_LINK);
	gso_max_set(FORWARD_LINK, 3000);
	write_file("/proc/sys/net/ipv4/ip_forward", "1");
	net_beyond();
	peers_give_time();
	address_add(BEYOND_LINK, BEYOND_V4);
	link_up(BEYOND_LINK);
	route_add(NEAR_V4, FORWARD_V4);
	net_near();
	route_add(BEYOND_V4, FAR_V4);
}

void net_neighbour(void)
{
	if (setns(neighbour_ns, CLONE_NEWNET))
		FAIL("no way to the neighbour's namespace");
}

static void device_move(const char *link, int ns)
{
	struct ifinfomsg head = { .ifi_index = if_nametoindex(link) };
	struct request r;

	request_begin(&r, RTM_NEWLINK, 0, &head, sizeof(head));
	request_add(&r, IFLA_NET_NS_FD, &ns, sizeof(ns));
	request_send(&r);
}

/* Real devices take seconds to come up. */
static void await_way_to(const char *text)
{
	struct address to = address_of(text, 9);
	int fd = socket(to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int tries = 0;

	while (connect(fd, (struct sockaddr *)&to.storage, to.length)) {
		if (++tries == 200)
			FAIL("no way to %s: %s", text, strerror(errno));
		usleep(50000);
	}
	close(fd);
}

/*
 * The neighbour's processes run when the machine below lets them: they are not
 * given up soon. The namespace ends with us.
 */
void net_neighbour_make(void)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ns/net", ns_make());
	neighbour_ns = ns_open(path);
	device_move(NEIGHBOUR_LINK, neighbour_ns);
	net_neighbour();
	write_file("/proc/sys/net/homa/timeout_ticks", "10000");
	address_add(NEIGHBOUR_LINK, OWN_V4);
	address_add(NEIGHBOUR_LINK, OWN_V6);
	link_up(NEIGHBOUR_LINK);
	await_way_to(NEIGHBOUR_V6);
	net_near();
}
