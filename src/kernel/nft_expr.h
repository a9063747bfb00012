// One instruction, as ours and as libnftnl's. The two directions stand side by side: what one writes the other reads.
#pragma once

#include <cstdint>

#include <cstdio>  // libnftnl/expr.h names FILE

#include <libnftnl/expr.h>
#include <libnftnl/rule.h>

#include "microseg/kstate/nft.h"

namespace microseg::kernel {

// Never fails but for exhausted memory, which throws.
nftnl_expr* encode(const kstate::Expr& expr);
kstate::Expr decode(const nftnl_expr* expr);

// The registers as the kernel names them back: the first of each four has the name of a 128-bit register.
std::uint32_t register_number(unsigned index);

}  // namespace microseg::kernel
