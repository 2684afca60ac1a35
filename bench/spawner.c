// Owns: the clock of the benchmark. Starts the contenders in turn and measures each from before
// vfork to after wait4, with as little of its own as possible: static, no allocation in the loop,
// vfork (copies no page tables), one fixed environment.
// Must not: know a container runtime or judge a result.
//
// Standard input: one line per contender, fields separated by tabs:
//   name  standard-error-file  fd9-file-or-"-"  argv...      (%ID% becomes a name, new each time)
// A word %THEN% in argv begins another command: all are measured as one, until one fails.
// Arguments: rounds warmup settle-microseconds seed id-prefix
// Standard output, one line per run: round index nanoseconds wait-status max-rss-kB
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { max_contenders = 16, max_words = 192 };

static char lines[1 << 18];
static char ids[max_contenders][max_words][256];
static char* words[max_contenders][max_words + 1];
static char* templates[max_contenders][max_words];
static int word_count[max_contenders];
static const char* names[max_contenders];
static const char* error_files[max_contenders];
static const char* ninth[max_contenders];
static char* const environment[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};

static int null_fd;
static unsigned long long state;

static unsigned random_number(void) {
  state = state * 6364136223846793005ULL + 1442695040888963407ULL;
  return (unsigned)(state >> 33);
}

static int split_lines(void) {
  size_t have = fread(lines, 1, sizeof lines - 1, stdin);
  lines[have] = '\0';
  int count = 0;
  char *line_state = NULL, *field_state = NULL;
  for (char* line = strtok_r(lines, "\n", &line_state); line != NULL;
       line = strtok_r(NULL, "\n", &line_state)) {
    if (count == max_contenders) return -1;
    names[count] = strtok_r(line, "\t", &field_state);
    error_files[count] = strtok_r(NULL, "\t", &field_state);
    ninth[count] = strtok_r(NULL, "\t", &field_state);
    int n = 0;
    char* word;
    while ((word = strtok_r(NULL, "\t", &field_state)) != NULL) {
      if (n == max_words) return -1;
      templates[count][n++] = word;
    }
    if (n == 0) return -1;
    word_count[count++] = n;
  }
  return count;
}

static int fill_words(int contender, const char* prefix, long round) {
  for (int i = 0; i < word_count[contender]; ++i) {
    char* word = templates[contender][i];
    char* at = strstr(word, "%ID%");
    if (at == NULL) {
      words[contender][i] = word;
      continue;
    }
    char* to = ids[contender][i];
    int n = snprintf(to, sizeof ids[0][0], "%.*s%s-%s-%ld%s", (int)(at - word), word, prefix,
                     names[contender], round, at + 4);
    if (n < 0 || (size_t)n >= sizeof ids[0][0]) return -1;
    words[contender][i] = to;
  }
  words[contender][word_count[contender]] = NULL;
  return 0;
}

static long long now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static pid_t start(char** command, int error_fd, int ninth_fd) {
  const pid_t pid = vfork();
  if (pid == 0) {
    dup2(null_fd, 0);
    dup2(null_fd, 1);
    dup2(error_fd, 2);
    if (ninth_fd >= 0) dup2(ninth_fd, 9);
    execve(command[0], command, environment);
    _exit(127);
  }
  return pid;
}

static int one_run(int contender, long round, int print) {
  int error_fd = open(error_files[contender], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  int ninth_fd =
      strcmp(ninth[contender], "-") == 0 ? -1 : open(ninth[contender], O_RDONLY | O_CLOEXEC);
  if (error_fd < 0 || (ninth_fd < 0 && strcmp(ninth[contender], "-") != 0)) return -1;
  struct rusage usage;
  int status = 0;
  long most = 0;
  char** command = words[contender];
  const long long begin = now();
  while (command != NULL && status == 0) {
    char** next = command;
    while (*next != NULL && strcmp(*next, "%THEN%") != 0) ++next;
    const int last = *next == NULL;
    *next = NULL;
    const pid_t pid = start(command, error_fd, ninth_fd);
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid) return -1;
    if (usage.ru_maxrss > most) most = usage.ru_maxrss;
    command = last ? NULL : next + 1;
  }
  const long long end = now();
  close(error_fd);
  if (ninth_fd >= 0) close(ninth_fd);
  // First processes of containers that have ended: they are ours, as nobody else's child.
  while (waitpid(-1, NULL, WNOHANG) > 0) continue;
  if (print) printf("%ld %d %lld %d %ld\n", round, contender, end - begin, status, most);
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 6) return 2;
  const long rounds = atol(argv[1]), warmup = atol(argv[2]), settle = atol(argv[3]);
  state = strtoull(argv[4], NULL, 10) * 2654435761ULL + 1;
  const int count = split_lines();
  null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
  if (count <= 0 || null_fd < 0) return 2;
  prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
  prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL);
  int order[max_contenders];
  for (int i = 0; i < count; ++i) order[i] = i;
  for (long round = -warmup; round < rounds; ++round) {
    // A new order each round: what a container leaves to the kernel's workers (the end of its
    // network namespace) falls on every neighbour alike.
    for (int i = count - 1; i > 0; --i) {
      const int k = (int)(random_number() % (unsigned)(i + 1));
      const int held = order[i];
      order[i] = order[k];
      order[k] = held;
    }
    for (int i = 0; i < count; ++i) {
      if (fill_words(order[i], argv[5], round + warmup) != 0) return 2;
      if (settle > 0) usleep((useconds_t)settle);
      if (one_run(order[i], round, round >= 0) != 0) return 3;
    }
  }
  return fflush(stdout) == 0 ? 0 : 3;
}
