// Owns: the flat form of a step list: what the parent writes into a memory file and the stage
// (stage/freestanding) maps and interprets. No pointers, only offsets from the start.
// Must not: use the library: this header is compiled without one as well.
#pragma once

#include <cstddef>
#include <cstdint>

namespace minirun::wire {

inline constexpr std::uint32_t magic = 0x3174736d;  // "mst1"
inline constexpr int max_slots = 1024;              ///< descriptors that one program can name
/// Where the stage finds its program: a segment of its own, which the parent's file fills.
inline constexpr std::uintptr_t program_address = 0x10000000;

/// One operation; `n` and `s` are described beside each. "slot" is an index into the table of
/// descriptors; -1 is none. "path in root" is resolved below the slot with RESOLVE_IN_ROOT.
enum class Op : std::uint16_t {
  // ---- mounts
  make_mount,  // n0 out slot, n1 MOUNT_ATTR_*, n2 slot of a mount to take in its place where it is
  // refused (EPERM), 0 none; s0 type, s1 list key,value,...; n3 1: mount(2) will do, with the
  // flags n4; with n5: mount_inside
  make_overlay,  // n0 out slot, n1 MOUNT_ATTR_*, n2 upper slot or -1, n3 use "lowerdir+";
  // s0 list of lower directories ("#N": slot N), s1 upper, s2 work (when n2 is -1), s3 options
  clone_tree,  // n0 out slot, n1 AT_RECURSIVE or 0, n2 propagation or 0; s0 path
  set_attr,    // n0 slot, n1 set, n2 clear, n3 propagation, n4 AT_RECURSIVE or 0,
               // n5 slot of a user namespace for MOUNT_ATTR_IDMAP or -1
  attach,      // n0 slot, n1 root slot, n2 Create, n3 mode, n4 openat2 RESOLVE_* to add,
               // n5 1: links may lead into procfs; s0 path in root
  copy_up,  // n0 slot of a new mount, n1 root slot; s0 path in root: the old content goes into it
  set_attr_path,   // n0 root slot, n1 set, n2 clear, n3 propagation, n4 AT_RECURSIVE or 0; s0 path
                   // in root
  user_namespace,  // n0 out slot; s0 uid_map, s1 gid_map: one without a process, for idmapped
                   // mounts
  open_file,       // n0 out slot, n1 O_*; s0 path of the host, s1 another that must not be the same
  // ---- the root as a whole
  stage_mount,    // n0 slot: attach over "/" of this mount namespace, out of everybody's way
  propagation,    // n0 MS_* of "/" (this mount namespace), n1 MS_REC or 0
  attach_root,    // n0 slot: attach over "/" and make it the working directory
  pivot_root,     // n0 mounts to take off, n1 root slot; n2 1 or 2: chroot, s0: see change_root()
  mask,           // n0 root slot, n1 slot of an empty directory's mount, n2 slot of a mount that is
                  // known to hold the path or -1, n3 1: a directory, likely; s0 in root, s1 in it
  readonly_path,  // n0 root slot, n1 slot of a known mount or -1; s0, s1 as mask
  // ---- files below the root
  make_directory,  // n0 root slot, n1 mode; s0 path in root
  make_node,       // n0 root slot, n1 mode with type, n2 dev, n3 uid, n4 gid; s0 path in root
  bind_node,     // n0 root slot, n1 slot of a mount of the node, n2 type bits, n3 dev: what it must
                 // be; s0 path in root
  make_symlink,  // n0 root slot; s0 target, s1 path in root
  write_file,    // n0 directory slot, n1 RESOLVE_*; s0 path, s1 text
  // ---- namespaces and identity
  set_namespace,  // n0 slot, n1 CLONE_NEW*
  unshare,        // n0 CLONE_NEW*
  become_root,    // setresgid(0), setresuid(0) in a user namespace
  fork_into,      // child goes on, this process reports its pid and ends
  new_session,    // setsid; n0 1: descriptor 0 becomes its controlling terminal
  keyring,        // s0 name
  hostname,       // s0
  domainname,     // s0
  loopback,       // lo up
  death_signal,   // n0 signal, 0 none
  // ---- process attributes
  rlimit,             // n0 resource, n1 soft, n2 hard
  umask_,             // n0
  scheduler,          // s0 struct sched_attr as a blob
  io_priority,        // n0 ioprio value
  affinity,           // s0 blob of a cpu mask, n0 its size in bytes
  memory_policy,      // n0 mode|flags, n1 maxnode; s0 blob of the mask
  personality,        // n0
  lsm_label,          // n0 proc slot; s0 path below it, s1 label
  dumpable,           // n0
  working_directory,  // n0 root slot, n1 1: is made when missing; s0 path
  home,               // n0 root slot, n1 uid; s0 envp: adds HOME= from /etc/passwd, else HOME=/
  bounding,           // n0 capabilities to keep, n1 those that it may have
  groups,             // n0 count; s0 blob of gid_t
  ids,                // n0 uid, n1 gid
  capset,             // n0 effective, n1 permitted, n2 inheritable
  ambient,            // n0 set
  no_new_privs,
  seccomp,  // n0 flags, n1 number of instructions, n2 1: send the listener; s0 blob
  // ---- terminal
  console,  // n0 root slot, n1 uid, n2 rows, n3 columns, n4 1: /dev/console too, n5 1: for a fork
  // ---- protocol
  barrier,           // n0 MessageKind to send, 0: none; waits for the parent's byte; n1 1: the
                     // parent may have died since
  listen_start,      // n0 slot of a listening socket: wait for `start`
  check_executable,  // s0 list of candidates: fails as exec would; s1 argv, for the words
  close_fds,         // n0 first descriptor to close, n1 slot to keep or -1; the channel stays;
                     // n2 1: at the exec will do
  reset_signals,     // n0 those that are ignored, bit n-1 for signal n
  execute,  // s0 list of candidates, s1 argv, s2 envp; n0 above 0: the program is that slot instead
  // ---- faults, only ever written by test builds
  fail,  // n0 errno
  die,   // n0 signal
  count_,
};

inline constexpr int ints_per_step = 6;
inline constexpr int strings_per_step = 4;

struct Step {
  Op op;
  std::uint16_t lists;  ///< bit k: s[k] is a list
  std::uint32_t index;  ///< the step of the plan that this is; several may share one
  std::int64_t n[ints_per_step];
  std::uint32_t s[strings_per_step];  ///< offset of a string, blob or list; 0 is none
};

/// A list: `count` + 1 cells of 8 bytes, the last 0; each an offset that the interpreter turns
/// into a pointer before use, so that it serves as argv.
struct ListHeader {
  std::uint64_t count;
};

struct alignas(8) Program {  // the steps behind it have fields of 8 bytes
  std::uint32_t magic;
  std::uint32_t size;  ///< of everything, this header included
  std::uint32_t step_count;
  std::uint32_t steps;     ///< offset
  std::uint32_t fd_count;  ///< slots 0 .. fd_count-1 are inherited
  std::uint32_t fds;       ///< offset of their numbers
  std::uint32_t timing;    ///< 1: report the time of each step
};

/// What `attach` makes where its target is missing.
enum Create : std::int64_t {
  create_nothing = 0,
  create_directory = 1,
  create_file = 2,
  create_like = 3,  ///< what the mount itself is (`attach` only)
};

// ---- messages from the stage to the parent, one per packet of a SOCK_SEQPACKET pair

enum class MessageKind : std::uint32_t {
  failure = 1,  ///< Failure follows; the stage has ended
  ready,        ///< everything is set up but the last steps; waits for a byte
  hooks,        ///< namespaces and mounts exist, not pivoted; waits for a byte
  forked,       ///< `value` is the pid of the process that goes on
  console,      ///< carries the terminal's master
  seccomp,      ///< carries the listener
  timing,       ///< Timing follows
};

inline constexpr int detail_size = 256;

/// Which step failed, in which call, with which errno, and the kernel's own words.
struct Failure {
  std::uint32_t step;  ///< index into the plan
  std::uint32_t call;  ///< Call
  std::int32_t errnum;
  std::uint32_t detail_length;
  char detail[detail_size];
};

struct Message {
  MessageKind kind;
  std::int32_t value;
  Failure failure;
};

/// The calls that a failure can name.
enum class Call : std::uint32_t {
  none,
  fsopen,
  fsconfig,
  fsmount,
  open_tree,
  mount_setattr,
  move_mount,
  openat2,
  mkdirat,
  mknodat,
  symlinkat,
  fchmodat,
  fchownat,
  fstat,
  fchdir,
  chdir,
  getcwd,
  pivot_root,  // n0 mounts to take off, n1 root slot; the working directory becomes "/"
  umount2,
  mount,
  write,
  read,
  setns,
  unshare,
  setresuid,
  setresgid,
  clone,
  setsid,
  keyctl,
  sethostname,
  setdomainname,
  socket,
  ioctl,
  prctl,
  setrlimit,
  sched_setattr,
  ioprio_set,
  sched_setaffinity,
  set_mempolicy,
  personality,
  setgroups,
  capset,
  seccomp,
  accept,
  sendmsg,
  close_range,
  fcntl,
  execve,
  open,
  dup3,
  getdents64,
  program,
  injected,
  count_
};

}  // namespace minirun::wire
