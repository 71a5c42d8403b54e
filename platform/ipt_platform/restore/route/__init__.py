"""Which task does a person or a picture want: by name, by what somebody says, by what the picture shows."""
