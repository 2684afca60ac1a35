#include "cgroups/systemd.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

namespace minirun {
namespace {

TEST(ScopeName, SlicePrefixName) {
  EXPECT_EQ(parse_scope_name("machine.slice:libpod:abc", "id", true).value(),
            (ScopeName{"machine.slice", "libpod-abc.scope"}));
  EXPECT_EQ(parse_scope_name(":x:y", "id", true).value(), (ScopeName{"system.slice", "x-y.scope"}));
  EXPECT_EQ(parse_scope_name("", "web", true).value(),
            (ScopeName{"system.slice", "minirun-web.scope"}));
  EXPECT_EQ(parse_scope_name("", "web", false).value(),
            (ScopeName{"user.slice", "minirun-web.scope"}));
  EXPECT_EQ(parse_scope_name("a.slice::y", "id", true).value(), (ScopeName{"a.slice", "y.scope"}));
}

TEST(ScopeName, RefusesWhatNoUnitIsCalled) {
  for (const char* path : {"/a/b", "a:b", "a.slice:b", "a.slice:b:", "a.slice:b:c:d", "a:b:c",
                           "a.slice:b/c:d", "../a.slice:b:c", "a--b.slice:b:c", "a-.slice:b:c",
                           "-a.slice:b:c", "a.slice:b:c\n", "a b.slice:b:c", ".slice:b:c"})
    EXPECT_FALSE(parse_scope_name(path, "id", true)) << path;
  EXPECT_FALSE(parse_scope_name("a.slice:b:" + std::string(300, 'x'), "id", true));
}

TEST(ScopeName, DashesAreLevels) {
  EXPECT_EQ(slice_path("system.slice").value(), "/system.slice");
  EXPECT_EQ(slice_path("a-b-c.slice").value(), "/a.slice/a-b.slice/a-b-c.slice");
  EXPECT_EQ(slice_path("-.slice").value(), "");
}

TEST(ScopeName, TheManagerOfAUserIsInItsService) {
  HostFacts facts;
  EXPECT_EQ(manager_root(facts), "");
  facts.euid = 1000;
  EXPECT_EQ(manager_root(facts), "/user.slice/user-1000.slice/user@1000.service");
  facts.cgroup.own_path = "/x/user@1000.service/app.slice/y.scope";
  EXPECT_EQ(manager_root(facts), "/x/user@1000.service");
}

CgroupWrite write(std::string file, std::string value) {
  CgroupWrite write;
  write.file = std::move(file);
  write.value = std::move(value);
  return write;
}

TEST(UnitProperties, LimitsInSystemdsUnits) {
  const auto properties =
      unit_properties({write("memory.max", "1048576"), write("memory.swap.max", "max"),
                       write("cpu.max", "12345 100000"), write("cpuset.cpus", "0-2,9"),
                       write("pids.max", "50"), write("io.max", "8:0 rbps=1")});
  const std::vector<UnitProperty> expected = {
      {"MemoryMax", std::uint64_t{1048576}},
      {"MemorySwapMax", UINT64_MAX},
      // 123.45 ms per second: systemd keeps whole percent, so that it is rounded up
      {"CPUQuotaPerSecUSec", std::uint64_t{130000}},
      {"CPUQuotaPeriodUSec", std::uint64_t{100000}},
      {"AllowedCPUs", std::vector<std::uint8_t>{0x07, 0x02}},
      {"TasksMax", std::uint64_t{50}}};
  EXPECT_EQ(properties, expected);
  EXPECT_EQ(unit_properties({write("cpu.max", "max 100000")}).front(),
            (UnitProperty{"CPUQuotaPerSecUSec", UINT64_MAX}));
}

// ---------------------------------------------------------------- D-Bus

TEST(Dbus, AMessageReadsBack) {
  dbus::Message message;
  message.serial = 7;
  message.path = "/a/b";
  message.interface = "x.y";
  message.member = "Do";
  message.destination = "z.w";
  dbus::Writer body;
  body.string("hello");
  body.uint32(5);
  message.signature = "su";
  message.body = body.bytes();
  const std::string bytes = dbus::encode(message);
  EXPECT_EQ(dbus::message_size(bytes).value(), bytes.size());
  const dbus::Message back = dbus::decode(bytes).value();
  EXPECT_EQ(back.serial, 7u);
  EXPECT_EQ(back.path, "/a/b");
  EXPECT_EQ(back.interface, "x.y");
  EXPECT_EQ(back.member, "Do");
  EXPECT_EQ(back.signature, "su");
  dbus::Reader reader(back.body);
  EXPECT_EQ(reader.string(), "hello");
  EXPECT_EQ(reader.uint32(), 5u);
  EXPECT_TRUE(reader.end());
}

TEST(Dbus, AlignmentIsThatOfTheSpecification) {
  dbus::Writer writer;
  writer.string("a");  // 4 + 1 + 1
  const auto array = writer.begin_array(8);
  writer.uint64(1);
  writer.end_array(array);
  // length of "a", 'a', 0, 2 of padding, length of the array 8, 4 of padding, the number
  EXPECT_EQ(writer.bytes(), std::string("\1\0\0\0a\0\0\0\10\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 24));
}

TEST(Dbus, EveryTruncationAndFlippedByteIsAnErrorOrHarmless) {
  dbus::Message message;
  message.serial = 1;
  message.member = "JobRemoved";
  message.path = "/org/freedesktop/systemd1";
  dbus::Writer body;
  body.string("result");
  message.signature = "s";
  message.body = body.bytes();
  const std::string bytes = dbus::encode(message);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(dbus::decode(bytes.substr(0, size))) << size;
  for (std::size_t at = 0; at < bytes.size(); ++at)
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::string bad = bytes;
      bad[at] = static_cast<char>(value);
      const Result<dbus::Message> decoded = dbus::decode(bad);
      if (decoded) (void)dbus::Reader(decoded->body).string();
    }
}

TEST(Dbus, RefusesWhatIsTooLongBeforeItIsRead) {
  std::string header("l\2\0\1", 4);
  header.append("\xff\xff\xff\x7f", 4).append("\1\0\0\0", 4).append("\0\0\0\0", 4);
  EXPECT_FALSE(dbus::message_size(header));
  EXPECT_FALSE(dbus::message_size("B" + header.substr(1)));
  EXPECT_FALSE(dbus::message_size(header.substr(0, 8)).value()) << "more is needed";
}

TEST(Dbus, TheScopeHasItsProcess) {
  const ScopeUnit scope{"x.scope", "a.slice", "words", {{"TasksMax", std::uint64_t{9}}}};
  const std::string body = start_body(scope, 0x01020304);
  for (const char* word :
       {"x.scope", "replace", "Slice", "a.slice", "Delegate", "PIDs", "TasksMax"})
    EXPECT_NE(body.find(word), std::string::npos) << word;
  EXPECT_NE(body.find(std::string("au\0", 3)), std::string::npos);
  EXPECT_NE(body.find(std::string("\4\3\2\1", 4)), std::string::npos);
}

TEST(Dbus, ABusThatNeverAnswersIsATimeout) {
  const std::string path = testing::TempDir() + "minirun-mute-bus";
  ::unlink(path.c_str());
  const Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_TRUE(listener);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  const auto soon = dbus::Connection::Clock::now() + std::chrono::milliseconds(100);
  const auto connection = dbus::Connection::open(path, soon);
  ::unlink(path.c_str());
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().errnum, ETIMEDOUT);
}

TEST(Dbus, NobodyThereIsAnError) {
  const auto soon = dbus::Connection::Clock::now() + std::chrono::milliseconds(200);
  const auto connection = dbus::Connection::open("/nonexistent/bus", soon);
  ASSERT_FALSE(connection);
  EXPECT_EQ(connection.error().errnum, ENOENT);
}

}  // namespace
}  // namespace minirun
