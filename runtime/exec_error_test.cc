#include "runtime/exec_error.h"

#include <elf.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/fd.h"

namespace minirun {
namespace {

using testing::HasSubstr;

class ExecError : public testing::Test {
 protected:
  ExecError() {
    std::string name = (std::filesystem::temp_directory_path() / "minirun-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    std::filesystem::create_directories(root_ / "bin");
    fd_ = Fd(::open(root_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  }
  ~ExecError() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& content, mode_t mode = 0755) {
    std::ofstream(root_ / path) << content;
    ::chmod((root_ / path).c_str(), mode);
  }

  /// An ELF header of this machine, with a loader when one is named.
  static std::string elf(unsigned machine, const std::string& loader) {
    Elf64_Ehdr header{};
    std::memcpy(header.e_ident, ELFMAG, SELFMAG);
    header.e_ident[EI_CLASS] = ELFCLASS64;
    header.e_machine = static_cast<Elf64_Half>(machine);
    header.e_phoff = sizeof header;
    header.e_phentsize = sizeof(Elf64_Phdr);
    header.e_phnum = loader.empty() ? 0 : 1;
    Elf64_Phdr segment{};
    segment.p_type = PT_INTERP;
    segment.p_offset = sizeof header + sizeof segment;
    segment.p_filesz = loader.size() + 1;
    std::string out(reinterpret_cast<const char*>(&header), sizeof header);
    out.append(reinterpret_cast<const char*>(&segment), sizeof segment);
    return out + loader + '\0';
  }

  std::string why(const std::string& path, int errnum) {
    return explain_program({fd_.get(), "/bin"}, {path}, errnum);
  }

  std::filesystem::path root_;
  Fd fd_;
#if defined(__x86_64__)
  static constexpr unsigned own = EM_X86_64, other = EM_AARCH64;
#else
  static constexpr unsigned own = EM_AARCH64, other = EM_X86_64;
#endif
};

TEST_F(ExecError, Scripts) {
  write("bin/a", "#! /usr/bin/nope -e\n");
  EXPECT_THAT(why("/bin/a", ENOENT), HasSubstr("its interpreter /usr/bin/nope"));
  EXPECT_THAT(why("a", ENOENT), HasSubstr("/bin/a"));  // below the working directory
  write("bin/b", "#!/bin/a\r\n");
  EXPECT_THAT(why("/bin/b", ENOENT), HasSubstr("carriage return"));
  write("bin/c", "#!");
  EXPECT_THAT(why("/bin/c", ENOEXEC), HasSubstr("names no interpreter"));
  write("bin/ld", elf(own, "/lib/loader"));
  write("bin/d", "#!/bin/ld\n");
  EXPECT_THAT(why("/bin/d", ENOENT), HasSubstr("its interpreter: its ELF loader /lib/loader"));
}

TEST_F(ExecError, Programs) {
  write("bin/a", elf(own, "/lib64/ld.so"));
  EXPECT_THAT(why("/bin/a", ENOENT), HasSubstr("its ELF loader /lib64/ld.so is not"));
  write("bin/b", elf(other, ""));
  EXPECT_THAT(why("/bin/b", ENOEXEC), HasSubstr("this machine is"));
  write("bin/c", "\177ELF");
  EXPECT_THAT(why("/bin/c", ENOEXEC), HasSubstr("truncated"));
  write("bin/d", "text\n");
  EXPECT_THAT(why("/bin/d", ENOEXEC), HasSubstr("neither an ELF program"));
  write("bin/e", "");
  EXPECT_THAT(why("/bin/e", ENOEXEC), HasSubstr("is empty"));
}

TEST_F(ExecError, Access) {
  EXPECT_THAT(why("/bin", EACCES), HasSubstr("is a directory"));
  write("bin/a", "#!/bin/sh\n", 0644);
  EXPECT_THAT(why("/bin/a", EACCES), HasSubstr("no execute bit (mode 0644)"));
  write("bin/b", "x", 0700);
  EXPECT_THAT(why("/bin/b", EACCES), HasSubstr("may not be executed by process.user (mode 0700"));
  EXPECT_EQ(why("/bin/nothing", ENOENT), "");
}

TEST_F(ExecError, NeverBlocksAndNeverLeaves) {
  ASSERT_EQ(::mkfifo((root_ / "bin/fifo").c_str(), 0755), 0);
  EXPECT_THAT(why("/bin/fifo", EACCES), HasSubstr("not a regular file"));
  write("bin/fifo-script", "#!/bin/fifo\n");
  EXPECT_EQ(why("/bin/fifo-script", ENOENT), "");
  std::filesystem::create_symlink("/etc/passwd", root_ / "bin/out");
  EXPECT_EQ(why("/bin/out", ENOENT), "");  // the link ends inside of the root, where nothing is
}

TEST_F(ExecError, KeepsTheWordsOfEngines) {
  const Step step{.op = Op::execute, .s = {StringList{"/x"}, StringList{"/x"}, StringList{}}};
  Error error{ENOENT, "process.args", "exec \"/x\"", {}};
  explain_exec(0, step, error);
  EXPECT_EQ(error.detail, "exec \"/x\": no such file or directory");
  error = {EACCES, "process.args", "exec \"/x\"", {}};
  explain_exec(0, step, error);
  EXPECT_EQ(error.detail, "exec \"/x\": permission denied");
  error = {ENOENT, "process.args", "exec \"x\": executable file not found in $PATH", {}};
  explain_exec(0, step, error);
  EXPECT_EQ(error.detail, "exec \"x\": executable file not found in $PATH");
}

}  // namespace
}  // namespace minirun
