from tests.programs import PROGRAMS, program

for name in PROGRAMS:
    program(name)
