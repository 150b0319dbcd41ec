#include "app/cli.h"

int main(int argc, char** argv) { return millrace::RunCommandLine(argc, argv); }
