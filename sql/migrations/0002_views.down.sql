DROP FUNCTION kryss.objects_as_of(timestamptz, timestamptz);
DROP VIEW kryss.intersection_now;
DROP VIEW kryss.object_now;
