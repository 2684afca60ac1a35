#include "runtime/notify.h"

#include <gtest/gtest.h>

namespace minirun {
namespace {

struct Case {
  const char* sent;
  const char* passed;
  bool ready;
};

class Notification : public testing::TestWithParam<Case> {};

TEST_P(Notification, PassesWhatIsAboutTheServiceAlone) {
  bool ready = false;
  EXPECT_EQ(filter_notification(GetParam().sent, ready), GetParam().passed);
  EXPECT_EQ(ready, GetParam().ready);
}

INSTANTIATE_TEST_SUITE_P(
    Lines, Notification,
    testing::Values(Case{"READY=1", "READY=1\n", true}, Case{"READY=1\n", "READY=1\n", true},
                    Case{"READY=0", "READY=0\n", false}, Case{"", "", false},
                    Case{"\n\n", "", false}, Case{"MAINPID=1\nREADY=1", "READY=1\n", true},
                    Case{"FDSTORE=1\nFDNAME=x\nBARRIER=1\nNOTIFYACCESS=all", "", false},
                    Case{"STATUS=a b=c\nXREADY=1", "STATUS=a b=c\n", false},
                    Case{"RELOADING=1\nMONOTONIC_USEC=5", "RELOADING=1\nMONOTONIC_USEC=5\n",
                         false}));

}  // namespace
}  // namespace minirun
