#include "app/probe/confinement.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace millrace {
namespace {

// A sanitizer maps terabytes that it never uses, and looks into its process by other ways.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

bool SetLimit(int resource, std::int64_t most) {
  const rlimit limit{static_cast<rlim_t>(most), static_cast<rlim_t>(most)};
  return ::setrlimit(static_cast<__rlimit_resource_t>(resource), &limit) == 0;
}

bool LimitCpu(Millis cpu) {
  const std::int64_t seconds = cpu.count() / 1000 + 1;
  // The soft one first: SIGXCPU tells what it was.
  const rlimit limit{static_cast<rlim_t>(seconds), static_cast<rlim_t>(seconds + 2)};
  return ::setrlimit(RLIMIT_CPU, &limit) == 0;
}

class LandlockRules {
 public:
  explicit LandlockRules(std::uint64_t handled) {
    landlock_ruleset_attr attributes{};
    attributes.handled_access_fs = handled;
    fd_ =
        static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0));
  }
  ~LandlockRules() {
    if (fd_ >= 0) ::close(fd_);
  }
  LandlockRules(const LandlockRules&) = delete;
  LandlockRules& operator=(const LandlockRules&) = delete;

  void Allow(const std::string& path, std::uint64_t access) const {
    landlock_path_beneath_attr rule{};
    rule.allowed_access = access;
    rule.parent_fd = ::open(path.c_str(), O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0) return;
    ::syscall(SYS_landlock_add_rule, fd_, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    ::close(rule.parent_fd);
  }
  bool Enforce() const { return fd_ >= 0 && ::syscall(SYS_landlock_restrict_self, fd_, 0) == 0; }

 private:
  int fd_ = -1;
};

bool ForbidFiles(const std::vector<std::string>& readable) {
  // Every right of the first Landlock; later ones are refinements of these.
  constexpr std::uint64_t kAll = (std::uint64_t{LANDLOCK_ACCESS_FS_MAKE_SYM} << 1U) - 1;
  constexpr std::uint64_t kRead = LANDLOCK_ACCESS_FS_READ_FILE;
  const LandlockRules rules(kAll);
  for (const std::string& file : readable) rules.Allow(file, kRead);
  for (const char* const file : {"/dev/null", "/dev/urandom", "/proc/cpuinfo", "/proc/meminfo"}) {
    rules.Allow(file, kRead);
  }
  for (const char* const folder : {"/proc/self", "/sys/devices/system", "/sys/fs/cgroup"}) {
    rules.Allow(folder, kRead | LANDLOCK_ACCESS_FS_READ_DIR);
  }
  return rules.Enforce();
}

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;
#endif

constexpr std::uint32_t kDenied = SECCOMP_RET_ERRNO | EPERM;
// glibc then starts threads by clone, whose flags a filter can see.
constexpr std::uint32_t kNotThere = SECCOMP_RET_ERRNO | ENOSYS;

// Never needed by whoever loads and runs a model. Threads are; processes are not.
constexpr auto kForbidden = std::to_array<std::uint32_t>({
  SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_listen, SYS_accept, SYS_accept4,
      SYS_sendto, SYS_sendmsg, SYS_sendmmsg, SYS_execve, SYS_execveat, SYS_ptrace,
      SYS_process_vm_readv, SYS_process_vm_writev, SYS_kcmp, SYS_kill, SYS_rt_sigqueueinfo,
      SYS_rt_tgsigqueueinfo, SYS_tkill, SYS_pidfd_open, SYS_pidfd_send_signal, SYS_pidfd_getfd,
      SYS_setpgid, SYS_setsid, SYS_unshare, SYS_setns, SYS_mount, SYS_umount2, SYS_pivot_root,
      SYS_chroot, SYS_bpf, SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_keyctl,
      SYS_add_key, SYS_request_key, SYS_init_module, SYS_finit_module, SYS_delete_module,
      SYS_kexec_load, SYS_reboot, SYS_memfd_create, SYS_fchmodat, SYS_fchownat, SYS_unlinkat,
      SYS_renameat2, SYS_linkat, SYS_symlinkat, SYS_mkdirat, SYS_mknodat, SYS_truncate,
      SYS_setxattr, SYS_shmget, SYS_msgget, SYS_semget,
#if defined(__x86_64__)
      SYS_fork, SYS_vfork, SYS_chmod, SYS_chown, SYS_lchown, SYS_unlink, SYS_rename, SYS_renameat,
      SYS_link, SYS_symlink, SYS_mkdir, SYS_rmdir, SYS_mknod,
#endif
});

constexpr auto kNumberAt = static_cast<std::uint32_t>(offsetof(seccomp_data, nr));
constexpr auto kArchitectureAt = static_cast<std::uint32_t>(offsetof(seccomp_data, arch));
constexpr auto kFlagsAt = static_cast<std::uint32_t>(offsetof(seccomp_data, args[0]));
constexpr std::uint32_t kCloneThread = 0x00010000;

sock_filter Load(std::uint32_t at) { return BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at); }
sock_filter Answer(std::uint32_t answer) { return BPF_STMT(BPF_RET | BPF_K, answer); }
// Goes on behind the next `yes` or `no` steps.
sock_filter If(std::uint16_t test, std::uint32_t value, std::uint8_t yes, std::uint8_t no) {
  return BPF_JUMP(static_cast<std::uint16_t>(BPF_JMP | test | BPF_K), value, yes, no);
}

bool ForbidCalls() {
  if (kArchitecture == 0) return false;
  // Calls above this number are those of another interface (x32), which would go around the list.
  constexpr std::uint32_t kOtherInterface = 0x40000000;
  std::vector<sock_filter> filter = {
      Load(kArchitectureAt), If(BPF_JEQ, kArchitecture, 1, 0),   Answer(SECCOMP_RET_KILL_PROCESS),
      Load(kNumberAt),       If(BPF_JGE, kOtherInterface, 0, 1), Answer(kDenied)};
  for (const std::uint32_t call : kForbidden) {
    filter.push_back(If(BPF_JEQ, call, 0, 1));
    filter.push_back(Answer(kDenied));
  }
  filter.push_back(If(BPF_JEQ, SYS_clone3, 0, 1));
  filter.push_back(Answer(kNotThere));
  // Other processes' limits; our own are looked at by argument 0.
  filter.push_back(If(BPF_JEQ, SYS_prlimit64, 0, 4));
  filter.push_back(Load(kFlagsAt));
  filter.push_back(If(BPF_JEQ, 0, 0, 1));
  filter.push_back(Answer(SECCOMP_RET_ALLOW));
  filter.push_back(Answer(kDenied));
  // A signal by tgkill is abort's own, to a thread of this process.
  filter.push_back(If(BPF_JEQ, SYS_tgkill, 0, 4));
  filter.push_back(Load(kFlagsAt));
  filter.push_back(If(BPF_JEQ, static_cast<std::uint32_t>(::getpid()), 0, 1));
  filter.push_back(Answer(SECCOMP_RET_ALLOW));
  filter.push_back(Answer(kDenied));
  filter.push_back(If(BPF_JEQ, SYS_clone, 0, 3));
  filter.push_back(Load(kFlagsAt));
  filter.push_back(If(BPF_JSET, kCloneThread, 1, 0));
  filter.push_back(Answer(kDenied));
  filter.push_back(Answer(SECCOMP_RET_ALLOW));
  sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
  // Of every thread, those included that run already.
  return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

}  // namespace

void LowerOwnRights() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  SetLimit(RLIMIT_CORE, 0);
  // Before this process may no longer write to its own files.
  std::ofstream("/proc/self/oom_score_adj") << 1000;
}

std::string Confine(const ConfinementPlan& plan) {
  std::string in_force;
  const auto note = [&in_force](bool done, const char* what) {
    if (!done) return;
    if (!in_force.empty()) in_force += ' ';
    in_force += what;
  };
  note(LimitCpu(plan.cpu), "cpu");
  // A pipe is no file that grows.
  note(SetLimit(RLIMIT_FSIZE, 0), "files");
  if (kSanitized) return in_force;
  note(ForbidFiles(plan.readable), "landlock");
  note(ForbidCalls(), "seccomp");
  const ProcessBytes now = ReadProcessBytes();
  note(now.mapped > 0 && SetLimit(RLIMIT_AS, now.mapped + plan.memory_bytes), "memory");
  return in_force;
}

ProcessBytes ReadProcessBytes() {
  std::ifstream status("/proc/self/status");
  ProcessBytes bytes;
  for (std::string line; std::getline(status, line);) {
    const auto take = [&line](const char* name, std::int64_t* out) {
      if (line.starts_with(name)) *out = std::atoll(line.c_str() + std::strlen(name)) * 1024;
    };
    take("VmSize:", &bytes.mapped);
    take("RssAnon:", &bytes.own);
  }
  return bytes;
}

}  // namespace millrace
