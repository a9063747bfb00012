// One client's connection, request by request. cpp-httplib reads and prints the messages.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "http/transport.h"
#include "microseg/http/http.h"

namespace microseg::http {

// Answers requests until the client hangs up, asks to close, or sends what is no HTTP: after an error that leaves
// unclear where the next request begins, the error is the last answer.
void serve(Transport& transport, const Handler& handler, std::size_t max_body);

// A whole answer that ends the connection, for where there is no session: {"Err": why}.
std::string closing_answer(int status, std::string_view reason, std::string_view why);

// {"Err":"…"}: the form in which Docker reads errors and our CLI does.
std::string error_body(std::string_view why);

}  // namespace microseg::http
