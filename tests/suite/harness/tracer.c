/* Holds a process: once it is killed it stays there, uncollected, until our input ends. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>

int main(int argc, char **argv) {
  if (argc != 2 || ptrace(PTRACE_SEIZE, atoi(argv[1]), 0, 0) != 0) return 1;
  puts("held");
  fflush(stdout);
  getchar();
  return 0;
}
