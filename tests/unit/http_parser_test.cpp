#include <doctest/doctest.h>

#include "http/framing.h"
#include "http/response_parser.h"

using namespace microseg;

namespace {

// "200 text/plain body", or "code: error text", or "incomplete".
std::string read(std::string_view text, std::size_t piece, bool end, std::uint64_t max_body = 100) {
  http::ResponseParser parser(max_body);
  std::string body;
  for (std::size_t at = 0; at < text.size(); at += piece) {
    auto fed = parser.feed(text.substr(at, piece), [&](std::string_view data) { body.append(data); });
    if (!fed) {
      CHECK(fed.error().code == Errc::invalid);
      return fed.error().text;
    }
  }
  if (end)
    if (auto finished = parser.finish(); !finished) {
      CHECK(finished.error().code == Errc::unavailable);
      return finished.error().text;
    }
  if (!parser.complete()) return "incomplete";
  return std::to_string(*parser.status()) + " " + parser.content_type() + " " + body;
}

}  // namespace

TEST_CASE("what an answer reads as, whole or byte by byte") {
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  const std::string bad = "unreadable HTTP answer: ";
  const std::string cut = "the server closed the connection in the middle of its answer";
  struct {
    const char* title;
    std::string text;
    bool end;
    std::string outcome;
  } rows[] = {
      {"a length", ok + "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", false,
       "200 application/json {}"},
      {"header names have no case", ok + "cOnTeNt-LeNgTh:2\r\n\r\n{}", false, "200  {}"},
      {"bytes after the end are ignored", ok + "Content-Length: 2\r\n\r\n{}xyz", false, "200  {}"},
      {"an empty body", ok + "Content-Length: 0\r\n\r\n", false, "200  "},
      {"chunks", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n", false,
       "200  abc0123456789abcdef"},
      {"chunk extensions, trailers", ok + "Transfer-Encoding: Chunked\r\n\r\n1;a=b\r\nx\r\n0\r\nT: 1\r\n\r\n", false,
       "200  x"},
      {"until the connection ends", ok + "\r\nabc", true, "200  abc"},
      {"no reason phrase", "HTTP/1.1 204\r\n\r\n", false, "204  "},
      {"interim answers are skipped", "HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 1\r\n\r\nx", false,
       "200  x"},
      {"304 has no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", false, "304  "},
      {"nothing", "", true, "the server closed the connection without an answer"},
      {"cut in the status", "HTTP/1.1 2", true, cut},
      {"cut in the head", ok + "A: b\r\n", true, cut},
      {"cut in the body", ok + "Content-Length: 3\r\n\r\nab", true, cut},
      {"cut in a chunk", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nab", true, cut},
      {"cut before the last chunk", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", true, cut},
      {"not HTTP", "SSH-2.0-x\r\n", false, bad + "it does not begin with an HTTP/1.1 status line"},
      {"HTTP/2", "HTTP/2.0 200 OK\r\n", false, bad + "it does not begin with an HTTP/1.1 status line"},
      {"a status of four digits", "HTTP/1.1 2000 OK\r\n", false,
       bad + "it does not begin with an HTTP/1.1 status line"},
      {"a status of one", "HTTP/1.1 2 OK\r\n", false, bad + "it does not begin with an HTTP/1.1 status line"},
      {"bare LF", "HTTP/1.1 200 OK\n", false, bad + "a line that does not end in CR LF"},
      {"a header without colon", ok + "nonsense\r\n", false, bad + "a header line without a name"},
      {"a folded header", ok + "A: b\r\n c: d\r\n", false, bad + "a header line without a name"},
      {"a negative length", ok + "Content-Length: -1\r\n", false, bad + "an unclear Content-Length"},
      {"a length beyond 64 bits", ok + "Content-Length: 18446744073709551616\r\n", false,
       bad + "an unclear Content-Length"},
      {"two lengths", ok + "Content-Length: 1\r\nContent-Length: 2\r\n", false, bad + "an unclear Content-Length"},
      {"length and chunks", ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", false,
       bad + "both Content-Length and Transfer-Encoding"},
      {"gzip transfer", ok + "Transfer-Encoding: gzip\r\n", false, bad + "a Transfer-Encoding other than chunked"},
      {"a chunk without size", ok + "Transfer-Encoding: chunked\r\n\r\n\r\n", false, bad + "a chunk without a size"},
      {"a negative chunk", ok + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", false, bad + "a chunk without a size"},
      {"a chunk longer than said", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", false,
       bad + "a chunk that is longer than it says"},
      {"an upgrade", "HTTP/1.1 101 Switching\r\n\r\n", false, bad + "an upgrade that was not asked for"},
      {"too large a length", ok + "Content-Length: 101\r\n\r\n", false, bad + "a body larger than 100 bytes"},
      {"too large a chunk", ok + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", false,
       bad + "a body larger than 100 bytes"},
      {"too many chunks", ok + "Transfer-Encoding: chunked\r\n\r\n40\r\n" + std::string(64, 'x') + "\r\n40\r\n", false,
       bad + "a body larger than 100 bytes"},
      {"too much until the end", ok + "\r\n" + std::string(101, 'x'), true, bad + "a body larger than 100 bytes"},
      {"too long a line", ok + std::string(20000, 'x'), false, bad + "a line longer than 16 KiB"},
      {"too many headers",
       ok +
           [] {
             std::string many;
             for (int i = 0; i < 9000; ++i) many += "A: bcde\r\n";
             return many;
           }(),
       false, bad + "headers larger than 64 KiB"},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.title));
    CHECK(read(row.text, row.text.size() + 1, row.end) == row.outcome);
    CHECK(read(row.text, 1, row.end) == row.outcome);
    CHECK(read(row.text, 7, row.end) == row.outcome);
  }
}

TEST_CASE("an answer to HEAD has no body") {
  http::ResponseParser parser(10, true);
  CHECK(parser.feed("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", [](std::string_view) { FAIL("a body"); }));
  CHECK(parser.complete());
}

TEST_CASE("an endless body has no limit, and its status is known before its first byte") {
  http::ResponseParser parser(http::ResponseParser::kEndless);
  CHECK(!parser.status());
  CHECK(parser.feed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", [](std::string_view) {}));
  CHECK(parser.status() == 200);
  std::uint64_t seen = 0;
  for (int i = 0; i < 200; ++i)
    CHECK(parser.feed("100000\r\n" + std::string(1 << 20, 'x') + "\r\n",
                      [&](std::string_view data) { seen += data.size(); }));
  CHECK(seen == 200ull << 20);
  CHECK(!parser.complete());
}

TEST_CASE("where a request's body ends is clear, or the request is refused") {
  struct {
    const char* title;
    const char* method;
    http::FramingHeaders headers;
    int status;  // 0: taken
  } rows[] = {
      {"no headers", "POST", {}, 0},
      {"a length", "POST", {{"100"}, {}, {}}, 0},
      {"chunks", "POST", {{}, {"Chunked"}, {}}, 0},
      {"GET with length 0", "GET", {{"0"}, {}, {}}, 0},
      {"the identity encoding", "POST", {{"1"}, {}, {"identity"}}, 0},
      {"too large", "POST", {{"101"}, {}, {}}, 413},
      {"beyond 64 bits", "POST", {{"99999999999999999999"}, {}, {}}, 400},
      {"not a number", "POST", {{"ten"}, {}, {}}, 400},
      {"signed", "POST", {{"+1"}, {}, {}}, 400},
      {"negative", "POST", {{"-1"}, {}, {}}, 400},
      {"empty", "POST", {{""}, {}, {}}, 400},
      {"a list", "POST", {{"1, 1"}, {}, {}}, 400},
      {"two lengths", "POST", {{"1", "1"}, {}, {}}, 400},
      {"both", "POST", {{"1"}, {"chunked"}, {}}, 400},
      {"gzip transfer", "POST", {{}, {"gzip, chunked"}, {}}, 400},
      {"chunked twice", "POST", {{}, {"chunked", "chunked"}, {}}, 400},
      {"compressed", "POST", {{"1"}, {}, {"gzip"}}, 415},
      {"GET with a body", "GET", {{"1"}, {}, {}}, 400},
      {"GET with chunks", "GET", {{}, {"chunked"}, {}}, 400},
      {"DELETE with a body", "DELETE", {{"1"}, {}, {}}, 0},
  };
  for (auto& row : rows) {
    CAPTURE(std::string(row.title));
    auto refused = http::check_framing(row.method, row.headers, 100);
    CHECK((refused ? refused->status : 0) == row.status);
  }
}
