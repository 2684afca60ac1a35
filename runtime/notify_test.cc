#include "runtime/notify.h"

#include <gtest/gtest.h>

namespace minirun {
namespace {

struct NotificationCase {
  const char* sent;
  const char* passed;
  bool ready;
};

class Notification : public testing::TestWithParam<NotificationCase> {};

TEST_P(Notification, PassesWhatIsAboutTheServiceAlone) {
  bool ready = false;
  EXPECT_EQ(filter_notification(GetParam().sent, ready), GetParam().passed);
  EXPECT_EQ(ready, GetParam().ready);
}

INSTANTIATE_TEST_SUITE_P(
    Lines, Notification,
    testing::Values(NotificationCase{"READY=1", "READY=1\n", true},
                    NotificationCase{"READY=1\n", "READY=1\n", true},
                    NotificationCase{"READY=0", "READY=0\n", false},
                    NotificationCase{"", "", false}, NotificationCase{"\n\n", "", false},
                    NotificationCase{"MAINPID=1\nREADY=1", "READY=1\n", true},
                    NotificationCase{"FDSTORE=1\nFDNAME=x\nBARRIER=1\nNOTIFYACCESS=all", "", false},
                    NotificationCase{"STATUS=a b=c\nXREADY=1", "STATUS=a b=c\n", false},
                    NotificationCase{"RELOADING=1\nMONOTONIC_USEC=5",
                                     "RELOADING=1\nMONOTONIC_USEC=5\n", false}));

}  // namespace
}  // namespace minirun
