/*
 * What `fencepost bench dns` can ask for: sends every datagram back with the QR bit set, and looks nothing up.
 *
 *   echo PORT        one thread, a recvfrom and a sendto for each datagram
 *   echo PORT BATCH  one thread, a recvmmsg and a sendmmsg for up to BATCH datagrams
 *
 * Its answers a second are dnsperf's limit, not the processor's: its core is busy for a part of the time only. What its
 * core can do tell its answers for a second of processor time, which the benchmark prints beside them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { SIZE = 512, MOST = 1024, QR = 0x80, HEADER = 12, BUFFER = 1 << 20 };

static unsigned char messages[MOST][SIZE];
static struct sockaddr_in senders[MOST];
static struct iovec parts[MOST];
static struct mmsghdr batch[MOST];

static void one_by_one(int udp)
{
    for (;;) {
        socklen_t length = sizeof senders[0];
        ssize_t size = recvfrom(udp, messages[0], SIZE, 0, (struct sockaddr *)&senders[0], &length);
        if (size < HEADER)
            continue;
        messages[0][2] |= QR;
        sendto(udp, messages[0], size, 0, (struct sockaddr *)&senders[0], length);
    }
}

static void in_batches(int udp, unsigned most)
{
    for (;;) {
        for (unsigned i = 0; i < most; i++) {
            parts[i] = (struct iovec){messages[i], SIZE};
            batch[i].msg_hdr = (struct msghdr){
                .msg_name = &senders[i], .msg_namelen = sizeof senders[i], .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int count = recvmmsg(udp, batch, most, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++) {
            messages[i][2] |= QR;
            parts[i].iov_len = batch[i].msg_len;
        }
        for (int sent = 0; sent < count;) {
            int done = sendmmsg(udp, batch + sent, count - sent, 0);
            sent += done > 0 ? done : 1;
        }
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int udp = socket(AF_INET, SOCK_DGRAM, 0), size = BUFFER;
    int most = argc > 2 ? atoi(argv[2]) : 1;

    if (argc < 2 || most < 1 || most > MOST) {
        fprintf(stderr, "usage: echo PORT [BATCH], BATCH from 1 to %d\n", MOST);
        return 2;
    }
    here.sin_port = htons(atoi(argv[1]));
    setsockopt(udp, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    if (udp < 0 || bind(udp, (struct sockaddr *)&here, sizeof here) < 0) {
        perror("echo: cannot listen");
        return 3;
    }
    if (most == 1)
        one_by_one(udp);
    in_batches(udp, most);
}
