// Owns: tests of the cache: hits, damage, strangers' files, bounds. Each works in a folder of its
// own. Must not: touch anything outside of that folder.
#include "security/seccomp_cache.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/capabilities.h"
#include "spec/default_seccomp.h"

namespace minirun {
namespace {

namespace fs = std::filesystem;

Seccomp small_profile(std::uint32_t errno_ret = 1) {
  Seccomp seccomp;
  seccomp.default_action = "SCMP_ACT_ALLOW";
  seccomp.syscalls = {{{"mkdir", "no_such_call"}, "SCMP_ACT_ERRNO", errno_ret, {}}};
  return seccomp;
}

class SeccompCache : public ::testing::Test {
 protected:
  void SetUp() override {
    // ext4 writes to the disk when a rename replaces a file: 4 s instead of 0.1 s for these tests.
    const fs::path base =
        ::access("/dev/shm", W_OK) == 0 ? fs::path("/dev/shm") : fs::temp_directory_path();
    std::string pattern = (base / "minirun-cache-XXXXXX").string();
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    path_ = pattern;
    root_ = DirFd{::open(path_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)};
    ASSERT_TRUE(root_);
  }
  void TearDown() override {
    root_.reset();
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }

  SeccompProgram get(const Seccomp& seccomp) {
    auto program = cached_seccomp(seccomp, root_.get());
    EXPECT_TRUE(program);
    return program ? *program : SeccompProgram{};
  }
  [[nodiscard]] fs::path folder() const { return path_ / std::string(seccomp_cache_folder); }
  [[nodiscard]] fs::path entry(const Seccomp& seccomp) const {
    return folder() / seccomp_cache_name(seccomp_cache_key(seccomp));
  }
  /// The inode tells whether an entry was replaced: a hit leaves it alone.
  [[nodiscard]] static ino_t inode(const fs::path& path) {
    struct stat facts{};
    return ::lstat(path.c_str(), &facts) == 0 ? facts.st_ino : 0;
  }
  [[nodiscard]] std::size_t entries() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(folder()), fs::directory_iterator{}));
  }
  static std::string slurp(const fs::path& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  static void spew(const fs::path& path, const std::string& content) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
  }

  fs::path path_;
  DirFd root_;
};

TEST_F(SeccompCache, TheSecondTimeIsAHitWithTheSameAnswer) {
  const Seccomp seccomp = default_seccomp(default_capabilities);
  const SeccompProgram first = get(seccomp);
  const ino_t before = inode(entry(seccomp));
  ASSERT_NE(before, 0U);
  EXPECT_EQ(get(seccomp), first);
  EXPECT_EQ(inode(entry(seccomp)), before);
  EXPECT_EQ(entries(), 1U);
  EXPECT_EQ(first, *compile_seccomp(seccomp));
}

TEST_F(SeccompCache, WarningsAndNotifyAreRemembered) {
  Seccomp seccomp = small_profile();
  seccomp.syscalls.push_back({{"rmdir"}, "SCMP_ACT_NOTIFY", {}, {}});
  const SeccompProgram first = get(seccomp);
  EXPECT_EQ(first.warnings.size(), 1U);
  EXPECT_TRUE(first.notify);
  EXPECT_EQ(get(seccomp), first);
}

TEST_F(SeccompCache, ModesAreOursAlone) {
  const Seccomp seccomp = small_profile();
  get(seccomp);
  struct stat facts{};
  ASSERT_EQ(::stat(folder().c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777U, 0700U);
  ASSERT_EQ(::stat(entry(seccomp).c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 07777U, 0600U);
}

TEST_F(SeccompCache, EveryFieldOfTheProfileIsInTheKey) {
  const Seccomp base = default_seccomp(default_capabilities);
  const std::string key = seccomp_cache_key(base);
  std::vector<Seccomp> variants(11, base);
  variants[0].default_action = "SCMP_ACT_KILL";
  variants[1].default_errno_ret = 2;
  variants[2].architectures.pop_back();
  variants[3].flags.emplace();
  variants[4].flags = {"SECCOMP_FILTER_FLAG_LOG"};
  variants[5].syscalls[0].names.pop_back();
  variants[6].syscalls[0].action = "SCMP_ACT_LOG";
  variants[7].syscalls[0].errno_ret = 0;
  variants[8].syscalls[1].args[0].value = 3;
  variants[9].syscalls[1].args[0].value_two = 3;
  variants[10].syscalls[1].args[0].op = "SCMP_CMP_NE";
  for (const Seccomp& variant : variants) EXPECT_NE(seccomp_cache_key(variant), key);
  Seccomp split = base;  // moving a boundary between two fields must show
  split.syscalls[0].names[0] += split.syscalls[0].names[1];
  split.syscalls[0].names.erase(split.syscalls[0].names.begin() + 1);
  EXPECT_NE(seccomp_cache_key(split), key);
}

TEST_F(SeccompCache, DamageAnywhereIsFoundAndRepaired) {
  const Seccomp seccomp = small_profile();
  const SeccompProgram good = get(seccomp);
  const std::string content = slurp(entry(seccomp));
  for (std::size_t at = 0; at < content.size(); ++at) {
    std::string bad = content;
    bad[at] = static_cast<char>(bad[at] ^ 0x20);
    spew(entry(seccomp), bad);
    const ino_t before = inode(entry(seccomp));
    ASSERT_EQ(get(seccomp), good) << "byte " << at;
    ASSERT_NE(inode(entry(seccomp)), before) << "byte " << at << " went unnoticed";
  }
  EXPECT_EQ(slurp(entry(seccomp)), content);
}

TEST_F(SeccompCache, EveryTruncationIsFound) {
  const Seccomp seccomp = small_profile();
  const SeccompProgram good = get(seccomp);
  const std::string content = slurp(entry(seccomp));
  for (std::size_t size = 0; size < content.size(); size += 3) {
    spew(entry(seccomp), content.substr(0, size));
    ASSERT_EQ(get(seccomp), good) << size;
  }
  spew(entry(seccomp), content + "x");
  EXPECT_EQ(get(seccomp), good);
  spew(entry(seccomp), std::string(seccomp_cache_max_entry_bytes + 1, 'x'));
  EXPECT_EQ(get(seccomp), good);
  EXPECT_EQ(slurp(entry(seccomp)), content);
}

TEST_F(SeccompCache, AnEntryUnderAnothersNameIsNotUsed) {
  const Seccomp lax = small_profile(0);
  const Seccomp strict = small_profile(1);
  get(lax);
  const SeccompProgram good = get(strict);
  fs::copy_file(entry(lax), entry(strict), fs::copy_options::overwrite_existing);
  EXPECT_EQ(get(strict), good);
  EXPECT_NE(slurp(entry(strict)), slurp(entry(lax)));
}

TEST_F(SeccompCache, FilesThatOthersCouldWriteAreReplaced) {
  const Seccomp seccomp = small_profile();
  const SeccompProgram good = get(seccomp);
  for (const mode_t mode : {0620U, 0602U, 0666U}) {
    ASSERT_EQ(::chmod(entry(seccomp).c_str(), mode), 0);
    EXPECT_EQ(get(seccomp), good);
    struct stat facts{};
    ASSERT_EQ(::stat(entry(seccomp).c_str(), &facts), 0);
    EXPECT_EQ(facts.st_mode & 07777U, 0600U);
  }
  fs::create_hard_link(entry(seccomp), path_ / "second-name");
  const ino_t before = inode(entry(seccomp));
  EXPECT_EQ(get(seccomp), good);
  EXPECT_NE(inode(entry(seccomp)), before);
}

TEST_F(SeccompCache, AForeignOwnersEntryIsReplaced) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: only root can give a file to somebody else";
  const Seccomp seccomp = small_profile();
  const SeccompProgram good = get(seccomp);
  ASSERT_EQ(::chown(entry(seccomp).c_str(), 12345, 12345), 0);
  EXPECT_EQ(get(seccomp), good);
  struct stat facts{};
  ASSERT_EQ(::stat(entry(seccomp).c_str(), &facts), 0);
  EXPECT_EQ(facts.st_uid, ::geteuid());
}

TEST_F(SeccompCache, OddInodesInThePlaceOfAnEntry) {
  const Seccomp seccomp = small_profile();
  const SeccompProgram good = get(seccomp);
  const std::string content = slurp(entry(seccomp));

  spew(path_ / "elsewhere", content);
  ::chmod((path_ / "elsewhere").c_str(), 0600);
  fs::remove(entry(seccomp));
  fs::create_symlink(path_ / "elsewhere", entry(seccomp));
  EXPECT_EQ(get(seccomp), good);
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(entry(seccomp)))) << "the symlink was used";

  fs::remove(entry(seccomp));
  ASSERT_EQ(::mkfifo(entry(seccomp).c_str(), 0600), 0);
  EXPECT_EQ(get(seccomp), good) << "and did not hang";

  fs::remove(entry(seccomp));
  fs::create_directory(entry(seccomp));
  EXPECT_EQ(get(seccomp), good);
  EXPECT_TRUE(fs::is_directory(entry(seccomp)));
  EXPECT_EQ(entries(), 1U) << "no temporary file stays behind";
}

TEST_F(SeccompCache, AFolderThatIsNotOursAloneIsNotWritten) {
  fs::create_directory(folder());
  ASSERT_EQ(::chmod(folder().c_str(), 0777), 0);
  get(small_profile());
  EXPECT_EQ(entries(), 0U);

  fs::remove(folder());
  fs::create_directory(path_ / "real");
  fs::create_directory_symlink(path_ / "real", folder());
  get(small_profile());
  EXPECT_TRUE(fs::is_empty(path_ / "real"));
}

TEST_F(SeccompCache, NoRootNoProblem) {
  const auto program = cached_seccomp(small_profile(), -1);
  ASSERT_TRUE(program);
  fs::create_directory(folder());
  ASSERT_EQ(::chmod(folder().c_str(), 0500), 0);
  EXPECT_EQ(get(small_profile()), *program);
}

TEST_F(SeccompCache, ErrorsOfTheProfileAreNotHidden) {
  Seccomp seccomp = small_profile();
  seccomp.default_action = "SCMP_ACT_MAYBE";
  const auto program = cached_seccomp(seccomp, root_.get());
  ASSERT_FALSE(program);
  EXPECT_EQ(program.error().object, "linux.seccomp.defaultAction");
}

TEST_F(SeccompCache, TheNumberOfEntriesIsBounded) {
  for (std::uint32_t i = 0; i < seccomp_cache_max_entries + 20; ++i) get(small_profile(i));
  EXPECT_LE(entries(), seccomp_cache_max_entries);
  const ino_t before = inode(entry(small_profile(seccomp_cache_max_entries + 19)));
  EXPECT_NE(before, 0U) << "the newest stays";
}

/// Runs `body` in a child that may mount; returns its exit status.
template <class Body>
int in_private_mounts(const Body& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      ::_exit(77);
    ::_exit(body());
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

TEST_F(SeccompCache, AFullOrReadOnlyFileSystemIsNoError) {
  const fs::path mount_point = path_ / "tiny";
  fs::create_directory(mount_point);
  const auto try_with = [&](const char* options, unsigned long flags) {
    return in_private_mounts([&] {
      if (::mount("tmpfs", mount_point.c_str(), "tmpfs", flags, options) != 0) return 77;
      const DirFd tiny{::open(mount_point.c_str(), O_PATH | O_DIRECTORY)};
      const auto program = cached_seccomp(default_seccomp(default_capabilities), tiny.get());
      if (!program) return 1;
      const fs::path inside = mount_point / std::string(seccomp_cache_folder);
      if (fs::exists(inside) && !fs::is_empty(inside)) return 2;
      return *program == *compile_seccomp(default_seccomp(default_capabilities)) ? 0 : 3;
    });
  };
  for (const auto& [options, flags] : {std::pair<const char*, unsigned long>{"size=4k", 0},
                                       {"nr_inodes=2", 0},
                                       {"size=1m", MS_RDONLY}}) {
    const int status = try_with(options, flags);
    if (status == 77) GTEST_SKIP() << "SKIPPED: a mount namespace needs CAP_SYS_ADMIN";
    EXPECT_EQ(status, 0) << options;
  }
}

TEST_F(SeccompCache, ManyAtOnceAgree) {
  const Seccomp seccomp = small_profile();
  const SeccompProgram good = *compile_seccomp(seccomp);
  std::vector<pid_t> children;
  for (int i = 0; i < 8; ++i) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      for (int round = 0; round < 20; ++round) {
        const auto program = cached_seccomp(seccomp, root_.get());
        if (!program || *program != good) ::_exit(1);
        if (round % 5 == 0) ::unlink(entry(seccomp).c_str());
      }
      ::_exit(0);
    }
    children.push_back(pid);
  }
  for (const pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_EQ(status, 0);
  }
  EXPECT_LE(entries(), 1U);
}

}  // namespace
}  // namespace minirun
