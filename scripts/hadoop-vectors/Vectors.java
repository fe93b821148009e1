import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;

import org.apache.hadoop.mapred.Counters;
import org.apache.hadoop.mapred.RunningJob;
import org.apache.hadoop.streaming.StreamJob;
import org.apache.hadoop.util.ToolRunner;

/**
 * Runs jobs of Hadoop Streaming one after the other in this process. Every line of
 * the first file is a job: its name and its arguments, separated by U+001F. The
 * second file gets lines "exit NAME CODE" and "counter NAME GROUP COUNTER VALUE",
 * separated by TAB.
 */
public class Vectors {
  static class Job extends StreamJob {
    RunningJob running() {
      return running_;
    }
  }

  public static void main(String[] args) throws Exception {
    try (PrintStream out = new PrintStream(args[1], "UTF-8")) {
      for (String line : Files.readAllLines(Path.of(args[0]), StandardCharsets.UTF_8)) {
        String[] words = line.split("\u001f", -1);
        Job job = new Job();
        int exit;
        try {
          exit = ToolRunner.run(job, Arrays.copyOfRange(words, 1, words.length));
        } catch (Exception e) {
          exit = -1;
        }
        out.println("exit\t" + words[0] + "\t" + exit);
        if (job.running() == null || job.running().getCounters() == null) {
          continue;
        }
        for (Counters.Group group : job.running().getCounters()) {
          for (Counters.Counter counter : group) {
            out.println("counter\t" + words[0] + "\t" + group.getName() + "\t" + counter.getDisplayName() + "\t" + counter.getValue());
          }
        }
      }
    }
  }
}
