"""What every stage needs: labels, files, the command line, statistics, plotting."""
