"""How often Ray Train looks at a job, and how long it waits: what its settings in the environment get."""

# Ray Train looks at its workers this often; by default every 2 seconds, which is also how late it sees one die.
POLL_SECONDS = "0.2"

# And asks this often whether a machine will be taken away; by default every 5 seconds, of the 30 that some clouds give.
NOTICE_SECONDS = "1"

# It waits so long for room that it takes to be there before it counts anew, by default 60 seconds. After a machine is lost its
# knowledge of it is up to 20 seconds old. Where there is no room yet it goes on trying, as often as it needs.
START_SECONDS = "15"
