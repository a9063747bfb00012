// Features that can only be known by trying them.
#pragma once

#include "microseg/base/fd.h"
#include "microseg/base/result.h"

namespace microseg::kernel {

// Makes and deletes a table with an owner, in a throw-away namespace.
Status try_owned_table(const Fd& netns);

}  // namespace microseg::kernel
