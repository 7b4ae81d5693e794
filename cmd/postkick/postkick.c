/* cmd/postkick/postkick.c - postkick(1): a trigger request for a service ("postkick public pickup W"). */
#include "conf/conf.h"
#include "log/log.h"
#include "service/logsetup.h"
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_to(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof a.sun_path)
		die("%s: name too long", path);
	memcpy(a.sun_path, path, strlen(path) + 1);
	for (int type = SOCK_STREAM; type <= SOCK_SEQPACKET; type += SOCK_SEQPACKET - SOCK_STREAM) {
		int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
		if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
			return fd;
		if (fd >= 0)
			close(fd);
	}
	return -1;
}

int main(int argc, char **argv)
{
	const char *dir = conf_default_dir();
	char path[256];
	static struct conf *c; /* for the life of the process */
	struct err e;
	unsigned verbose = 0;
	int opt;
	log_init(&(struct log_conf){ .service = "postkick", .file_fd = -1, .to_stderr = true });
	while ((opt = getopt(argc, argv, "c:v")) > 0)
		switch (opt) {
		case 'c':
			dir = optarg;
			break;
		case 'v':
			verbose++;
			break;
		default:
			die("usage: postkick [-c config_dir] [-v] class service request");
		}
	if (argc != optind + 3)
		die("usage: postkick [-c config_dir] [-v] class service request");
	if (conf_load(dir, &c, &e) != RC_OK)
		die("%s", e.text);
	logsetup_command(c, "postkick", true, verbose);
	const char *class = argv[optind], *service = argv[optind + 1], *request = argv[optind + 2];
	if (chdir(conf_str(c, "queue_directory")) < 0)
		die("chdir %s: %m", conf_str(c, "queue_directory"));
	if (strchr(class, '/') != NULL || strchr(service, '/') != NULL || class[0] == '.' ||
	    service[0] == '.')
		die("class and service are names, not paths");
	snprintf(path, sizeof path, "%s/%s", class, service);
	int fd = connect_to(path);
	if (fd < 0)
		log_warning("unable to look up %s: %m", path);
	if (fd < 0 || send(fd, request, strlen(request), MSG_NOSIGNAL) != (ssize_t)strlen(request)) {
		log_warning("Cannot contact class %s service %s - perhaps the mail system is down", class,
			    service);
		return 1;
	}
	close(fd);
	return 0;
}
