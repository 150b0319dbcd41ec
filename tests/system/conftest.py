"""Options of the system tests."""


def pytest_addoption(parser):
    parser.addoption("--small", action="store_true",
                     help="fewer requests, for builds that run many times slower (sanitizers)")
