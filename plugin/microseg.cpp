#include <iostream>

#include "microseg/cli/cli.h"

int main(int argc, char** argv) { return microseg::cli::run(argc, argv, std::cin, std::cout, std::cerr); }
