// The database file: made whole or not at all, refused without being touched.
#pragma once

#include <string>

#include "microseg/base/result.h"
#include "store/db.h"

namespace microseg::store {

// Opens or creates DIRECTORY/state.db for writing, as open_sqlite() promises.
Result<Db> open_file(const std::string& directory);

}  // namespace microseg::store
