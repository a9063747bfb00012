// Overload: lambdas side by side as one visitor for std::visit.
#pragma once

namespace microseg {

template <class... Fs>
struct Overload : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overload(Fs...) -> Overload<Fs...>;

}  // namespace microseg
